/* SPDX-License-Identifier: Apache-2.0 */
/* Units, labels, languages, exclusions, and processes that carry a tracer of their own. */
#include "target_help.h"

#include "target/policy.h"
#include "target/scan.h"

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static bool matches_fake(const struct target_spec *spec, struct sbuf *why)
{
	struct proc p = PROC_INIT;
	bool yes = proc_open(&p, test_dir, 9) == 0 && target_matches(spec, &p, NULL);
	sbuf_reset(why);
	sbuf_adds(why, p.skipped);
	proc_close(&p);
	return yes;
}

static void set(const char *name, const char *text, size_t len)
{
	write_file(in_dir("9/%s", name), text, len);
}

static void test_units(void **state)
{
	(void)state;
	static const struct {
		const char *glob;
		bool is;
	} cases[] = {{"nginx.service", true},
		     {"nginx", true},
		     {"ng*", true},
		     {"nginx.socket", false},
		     {"system.slice", false}};
	struct sbuf why = {0};
	fake_process(test_dir, 9, "x", "/x", "x", 2);
	set("cgroup", "0::/system.slice/nginx.service\n", 31);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct target_spec spec = SPEC(units, sv_of(cases[i].glob));
		assert_int_equal(matches_fake(&spec, &why), cases[i].is);
	}
	sbuf_release(&why);
}

static void test_names_of_containers(void **state)
{
	(void)state;
	char id[CONTAINER_ID_MAX + 1];
	struct containers *t = containers_new(NULL, NULL);
	struct target_policy policy = {.containers = t};
	struct target_spec by_name = SPEC(containers, SV("shop-*"));
	struct target_spec by_label = {.labels = {(struct tag[]){{SV("app"), SV("shop")}}, 1, 1}};
	struct sbuf why = {0};
	by_name.policy = by_label.policy = &policy;
	fake_process(test_dir, 9, "x", "/x", "x", 2);
	assert_false(matches_fake(&by_name, &why)); /* in no container: nobody is asked */
	assert_false(containers_next(t, 0, id));
	set("cgroup", "0::/docker/" HEX64 "\n", 11 + 64 + 1);
	assert_false(matches_fake(&by_name, &why));
	assert_false(matches_fake(&by_label, &why));
	assert_true(containers_next(t, 0, id));
	assert_string_equal(id, HEX64);
	assert_int_equal(
		containers_answer(t, id, SV("{\"Name\":\"/shop-1\",\"Config\":{\"Labels\":{\"app\":\"shop\"}}}")), 0);
	assert_true(matches_fake(&by_name, &why));
	assert_true(matches_fake(&by_label, &why));
	/* The beginning of an id is enough without asking. */
	struct target_spec by_id = SPEC(containers, SV("0123456789ab"));
	assert_true(matches_fake(&by_id, &why));
	/* A container is excluded by its name; kinds of one exclusion are and-ed. */
	struct target_spec excludes[] = {by_name};
	policy.excludes = excludes;
	policy.exclude_cnt = 1;
	by_id.policy = &policy;
	assert_false(matches_fake(&by_id, &why));
	assert_string_equal(sbuf_str(&why), "excluded by container 'shop-*'");
	excludes[0].names = (struct sv_vec){(struct sv[]){SV("other")}, 1, 1};
	assert_true(matches_fake(&by_id, &why));
	containers_free(t);
	sbuf_release(&why);
}

static void test_languages(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		bool is;
	} cases[] = {{"python", true}, {"CPython", true}, {"PYTHON", true}, {"py", false}, {"go", false}, {"?", false}};
	struct sbuf why = {0};
	fake_process(test_dir, 9, "x", "/usr/bin/python3.11", "python3", 8);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct target_spec spec = SPEC(languages, sv_of(cases[i].name));
		assert_int_equal(matches_fake(&spec, &why), cases[i].is);
	}
	sbuf_release(&why);
}

#define MAPS(path) "1000-2000 r-xp 00000000 08:02 1 " path "\n"

static void test_instrumented(void **state)
{
	(void)state;
	static const struct {
		const char *cmdline, *environ, *maps, *why; /* '|' between strings */
	} cases[] = {
		{"python3|shop.py", "PATH=/bin", "", ""},
		/* Named, installed, configured, but not switched on. */
		{"python3|/srv/ddtrace-tests/shop.py",
		 "DD_SERVICE=shop|OTEL_SERVICE_NAME=shop|OTEL_PROPAGATORS=b3|DD_TRACE_ENABLED=true",
		 MAPS("/usr/lib/libpython3.11.so"), ""},
		{"node|server.js", "NODE_OPTIONS=--max-old-space-size=100", "", ""},
		{"java|-jar|shop.jar", "JAVA_TOOL_OPTIONS=-Xmx1g", "", ""},
		{"python3|shop.py", "PYTHONPATH=/usr/lib/python3/dist-packages/ddtrace/bootstrap:/srv", "",
		 "carries ddtrace (PYTHONPATH)"},
		{"python3|shop.py", "PYTHONPATH=/v/opentelemetry/instrumentation/auto_instrumentation", "",
		 "carries OpenTelemetry for Python (PYTHONPATH)"},
		{"python3|shop.py", "", MAPS("/v/site-packages/ddtrace/internal/_encoding.cpython-311.so"),
		 "carries ddtrace (it is loaded)"},
		{"node|server.js", "NODE_OPTIONS=--require dd-trace/init", "", "carries dd-trace (NODE_OPTIONS)"},
		{"node|-r|dd-trace/init|server.js", "", "", "carries dd-trace (its arguments)"},
		{"java|-javaagent:/opt/dd-java-agent.jar|-jar|shop.jar", "", "",
		 "carries dd-java-agent (its arguments)"},
		{"java|-jar|shop.jar", "JAVA_TOOL_OPTIONS=-javaagent:/o/opentelemetry-javaagent.jar", "",
		 "carries OpenTelemetry's Java agent (JAVA_TOOL_OPTIONS)"},
		{"shop", "OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318", "",
		 "carries an OpenTelemetry SDK (OTEL_EXPORTER_OTLP_ENDPOINT)"},
		{"php-fpm", "", MAPS("/opt/datadog/ddtrace.so"), "carries ddtrace for PHP (it is loaded)"},
		/* Switched off. */
		{"python3|shop.py", "PYTHONPATH=/x/ddtrace/bootstrap|DD_TRACE_ENABLED=false",
		 MAPS("/v/ddtrace/internal/x.so"), ""},
		{"shop", "OTEL_EXPORTER_OTLP_ENDPOINT=http://c|OTEL_SDK_DISABLED=TRUE", "", ""},
		{"shop", "OTEL_TRACES_EXPORTER=none|OTEL_EXPORTER_OTLP_ENDPOINT=http://c", "", ""},
		{"shop", "OTEL_EXPORTER_OTLP_ENDPOINT=", "", ""},
		/* One is off, the other is not. */
		{"python3|shop.py", "PYTHONPATH=/x/ddtrace/bootstrap|OTEL_SDK_DISABLED=true", "",
		 "carries ddtrace (PYTHONPATH)"},
	};
	struct target_policy policy = {0};
	struct target_spec spec = SPEC(pids, 9);
	struct sbuf why = {0};
	spec.policy = &policy;
	fake_process(test_dir, 9, "x", "/x", "x", 2);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[1024];
		const char *const parts[][2] = {{"cmdline", cases[i].cmdline}, {"environ", cases[i].environ}};
		for (int n = 0; n < 2; n++) {
			size_t len = strlen(parts[n][1]);
			snprintf(text, sizeof(text), "%s", parts[n][1]);
			for (size_t c = 0; c < len; c++)
				text[c] = text[c] == '|' ? '\0' : text[c];
			set(parts[n][0], text, len + 1);
		}
		set("maps", cases[i].maps, strlen(cases[i].maps));
		policy.trace_instrumented = false;
		bool is = matches_fake(&spec, &why);
		if (is != !cases[i].why[0] || strcmp(sbuf_str(&why), cases[i].why) != 0)
			fail_msg("%zu: '%s', expected '%s'", i, sbuf_str(&why), cases[i].why);
		policy.trace_instrumented = true;
		assert_true(matches_fake(&spec, &why));
	}
	sbuf_release(&why);
}

/* The real thing, when it is there. */
static void test_scan_tells(void **state)
{
	(void)state;
	static const char *const envp[] = {"PATH=/usr/bin:/bin", "PYTHONPATH=/x/ddtrace/bootstrap", NULL};
	static const char *const argv[] = {"sleep", "1000", NULL};
	struct target_policy policy = {0};
	pid_t pid = spawn("sleep", argv, envp);
	struct target_spec spec = SPEC(pids, pid);
	struct scan scan = {0};
	struct sbuf text = {0};
	spec.policy = &policy;
	assert_int_equal(scan_processes("/proc", &spec, 1, &scan, &text), 0);
	assert_int_equal(scan.cnt, 0);
	assert_int_equal(scan.skipped_cnt, 1);
	assert_int_equal(scan.skipped[0].pid, pid);
	assert_string_equal(scan.skipped[0].why, "carries ddtrace (PYTHONPATH)");
	scan_explain("/proc", &spec, 0, &text);
	assert_non_null(strstr(sbuf_str(&text), "the only matching process is left out"));
	assert_non_null(strstr(sbuf_str(&text), "carries ddtrace (PYTHONPATH)"));
	scan_release(&scan);
	sbuf_release(&text);
	reap(pid);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_units, make_test_dir, remove_test_dir),
		cmocka_unit_test_setup_teardown(test_names_of_containers, make_test_dir, remove_test_dir),
		cmocka_unit_test_setup_teardown(test_languages, make_test_dir, remove_test_dir),
		cmocka_unit_test_setup_teardown(test_instrumented, make_test_dir, remove_test_dir),
		cmocka_unit_test(test_scan_tells),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	reap_all(NULL);
	return failed;
}
