/* SPDX-License-Identifier: Apache-2.0 */
#include "target_help.h"

#include <sched.h>
#include <sys/stat.h>

#include "target/identify.h"

static char root[256];

static int make_root(void **state)
{
	int err = make_test_dir(state);
	snprintf(root, sizeof(root), "%s", in_dir("proc"));
	return err ? err : mkdir(root, 0755);
}

static int end_test(void **state)
{
	reap_all(state);
	return remove_test_dir(state);
}

/* Arguments and variables are written with '|' between them. */
static void set_strings(const char *name, const char *text)
{
	char copy[1024];
	size_t len = strlen(text);
	snprintf(copy, sizeof(copy), "%s", text);
	for (size_t i = 0; i < len; i++)
		if (copy[i] == '|')
			copy[i] = '\0';
	write_file(in_dir("proc/9/%s", name), copy, len + 1);
}

static struct process_info *identity_of(const char *environ_text, const struct target_spec *spec)
{
	struct identify_options o = {.spec = spec, .hostname = SV("box")};
	struct proc p = PROC_INIT;
	struct process_info *info = NULL;
	set_strings("environ", environ_text);
	assert_int_equal(proc_open(&p, root, 9), 0);
	assert_int_equal(identify_process(&p, &o, &info), 0);
	proc_close(&p); /* the object must not lean on it */
	return info;
}

/* Ours, then the spec's, then the process's own: variable by variable, and nothing but what is about requests. */
static void test_request_settings(void **state)
{
	(void)state;
	struct tag listed[] = {{SV("DD_TRACE_HEADER_TAGS"), SV("spec")}, {SV("OTEL_PROPAGATORS"), SV("")}};
	struct routes routes = {0};
	struct target_spec spec = {.settings = {listed, 2, 2}, .more_routes = &routes, .number = 3};
	struct identify_options o = {
		.spec = &spec, .environment = SV("DD_TRACE_CLIENT_IP_ENABLED=ours\0DD_TRACE_PROPAGATION_STYLE=\0")};
	struct proc p = PROC_INIT;
	struct process_info *info = NULL;
	fake_process(root, 9, "shop", "/usr/bin/shop", "shop", 5);
	set_strings("environ", "DD_TRACE_CLIENT_IP_ENABLED=its|DD_TRACE_HEADER_TAGS=its|OTEL_PROPAGATORS=its|"
			       "DD_API_KEY=secret|DD_TRACE_PROPAGATION_STYLE=its|DD_TRACE_BAGGAGE_TAG_KEYS=its");
	assert_int_equal(proc_open(&p, root, 9), 0);
	assert_int_equal(identify_process(&p, &o, &info), 0);
	static const char expected[] = "DD_TRACE_CLIENT_IP_ENABLED=ours\0DD_TRACE_HEADER_TAGS=spec\0"
				       "DD_TRACE_PROPAGATION_STYLE=\0OTEL_PROPAGATORS=\0DD_TRACE_BAGGAGE_TAG_KEYS=its";
	assert_int_equal(info->settings.len, sizeof(expected));
	assert_memory_equal(info->settings.data, expected, sizeof(expected));
	struct process_info *child = identify_fork(info, 10, 10);
	assert_true(sv_eq(child->settings, info->settings));
	assert_ptr_not_equal(child->settings.data, info->settings.data);
	assert_ptr_equal(child->routes[0], &spec.routes);
	assert_ptr_equal(child->routes[1], &routes);
	assert_int_equal(child->target, 3);
	process_info_unref(info);
	assert_true(routes_are_held(&spec.routes));
	/* The others may be gone as soon as the target is not held any more. */
	assert_false(routes_are_held(&routes));
	process_info_unref(child);
	assert_false(routes_are_held(&spec.routes));
	proc_close(&p);
}

static void test_precedence(void **state)
{
	(void)state;
	struct target_spec spec = {.service = SV("from-spec"), .env = SV("spec-env")}, empty = {0};
	static const struct {
		const char *environ, *service, *env, *version;
		bool told;
	} cases[] = {
		{"X=1", "shop", "", "", false},
		{"DD_SERVICE=a|OTEL_SERVICE_NAME=b|DD_TAGS=service:c,env:d,version:e", "a", "d", "e", true},
		{"OTEL_SERVICE_NAME=b|DD_TAGS=service:c|DD_ENV=prod|DD_VERSION=1.2", "b", "prod", "1.2", true},
		{"DD_TAGS=service:c env:x|DD_ENV=|DD_SERVICE=", "c", "x", "", true},
		{"DD_TAGS=a:b|OTEL_RESOURCE_ATTRIBUTES=service.name=o,deployment.environment=old,"
		 "deployment.environment.name=new,service.version=7",
		 "o", "new", "7", true},
		{"OTEL_RESOURCE_ATTRIBUTES=deployment.environment=old%20%2C x", "shop", "old_x", "", false},
	};
	fake_process(root, 9, "shop", "/usr/bin/shop", "shop", 5);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct process_info *info = identity_of(cases[i].environ, i % 2 ? &empty : NULL);
		assert_sv(info->service, cases[i].service);
		assert_sv(info->env, cases[i].env);
		assert_sv(info->version, cases[i].version);
		assert_sv(info->service_source, cases[i].told ? "m" : "");
		process_info_unref(info);
		info = identity_of(cases[i].environ, &spec);
		assert_sv(info->service, "from-spec");
		assert_sv(info->env, "spec-env");
		assert_sv(info->version, cases[i].version);
		assert_sv(info->service_source, "m");
		process_info_unref(info);
	}
}

static void expect_tags(const char *text, const char *want)
{
	struct tag_vec tags = {0};
	struct sbuf got = {0};
	assert_int_equal(tags_parse(sv_of(text), &tags), 0);
	for (size_t i = 0; i < tags.cnt; i++)
		sbuf_addf(&got, "[" SV_FMT "=" SV_FMT "]", SV_ARG(tags.data[i].key), SV_ARG(tags.data[i].value));
	if (strcmp(sbuf_str(&got), want) != 0)
		fail_msg("'%s': got %s, expected %s", text, sbuf_str(&got), want);
	sbuf_release(&got);
	vec_release(&tags);
}

/* ddtrace's parse_tags_str() gave these answers. */
static void test_dd_tags(void **state)
{
	(void)state;
	expect_tags("", "");
	expect_tags("team:core", "[team=core]");
	expect_tags("team:core,tier:1", "[team=core][tier=1]");
	expect_tags("team:core tier:1", "[team=core][tier=1]");
	expect_tags("team:core, tier:1 2 ,", "[team=core][tier=1 2]");
	expect_tags("a:b:c,d", "[a=b:c][d=]");
	expect_tags(":x,,  ,k: ", "[k=]");
	expect_tags("a:1,b:2,a:3", "[a=3][b=2]");
	expect_tags("a:http://x:80/y b", "[a=http://x:80/y][b=]");
}

static void test_tags(void **state)
{
	(void)state;
	struct tag own[] = {{SV("team"), SV("ours")}, {SV("extra"), SV("1")}};
	struct target_spec spec = {.tags = {own, 2, 2}};
	struct sv v;
	fake_process(root, 9, "shop", "/usr/bin/shop", "shop", 5);
	struct process_info *info =
		identity_of("DD_TAGS=team:core,service:x,env:e,version:1,k:v|OTEL_RESOURCE_ATTRIBUTES=o=1", &spec);
	struct tag_vec tags = {info->tags, info->tag_cnt, 0};
	assert_int_equal(tags.cnt, 3);
	assert_true(tags_get(&tags, "team", &v));
	assert_sv(v, "ours");
	assert_true(tags_get(&tags, "extra", &v));
	assert_true(tags_get(&tags, "k", &v));
	process_info_unref(info);
	info = identity_of("OTEL_RESOURCE_ATTRIBUTES=a=1,b=2,c,service.name=s,d=4,e=5,f=6,g=7,h=8,i=9,j=10,k=11", NULL);
	assert_int_equal(info->tag_cnt, IDENTIFY_MAX_OTEL_TAGS);
	assert_sv(info->tags[0].key, "a");
	assert_sv(info->tags[0].value, "1");
	process_info_unref(info);
}

static void test_source(void **state)
{
	(void)state;
	static const struct {
		const char *environ, *commit, *repository, *process_tags, *service;
		bool hostname;
		unsigned tags;
	} cases[] = {
		{"X=1", "", "",
		 "entrypoint.basedir:bin,entrypoint.name:shop,entrypoint.type:executable,entrypoint.workdir:my_shop,"
		 "svc.auto:shop",
		 "shop", false, 0},
		{"DD_GIT_COMMIT_SHA=abc|DD_GIT_REPOSITORY_URL=https://me:token@git.example.org/a@b/c.git|DD_SERVICE=cart|"
		 "DD_TAGS=git.commit.sha:older,team:x|DD_TRACE_REPORT_HOSTNAME=True|DD_SERVICE_MAPPING=shop:no,cart:My Cart",
		 "abc", "https://git.example.org/a@b/c.git",
		 "entrypoint.basedir:bin,entrypoint.name:shop,entrypoint.type:executable,entrypoint.workdir:my_shop,svc.user:true",
		 "my_cart", true, 1},
		{"DD_TAGS=git.commit.sha:older,git.repository_url:git@example.org:a/b|DD_EXPERIMENTAL_PROPAGATE_PROCESS_TAGS_ENABLED=0",
		 "older", "git@example.org:a/b", "", "shop", false, 0},
		{"DD_GIT_COMMIT_SHA=abc|DD_TAGS=git.commit.sha:older|DD_TRACE_GIT_METADATA_ENABLED=false|"
		 "DD_EXPERIMENTAL_PROPAGATE_PROCESS_TAGS_ENABLED=false|DD_TRACE_REPORT_HOSTNAME=no",
		 "", "", "", "shop", false, 0},
	};
	unlink(in_dir("proc/9/exe"));
	unlink(in_dir("proc/9/cwd"));
	fake_process(root, 9, "shop", "/usr/bin/shop", "shop", 5);
	assert_int_equal(symlink("/srv/My Shop", in_dir("proc/9/cwd")), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct process_info *info = identity_of(cases[i].environ, NULL), *child = identify_fork(info, 5, 5);
		for (int who = 0; who < 2; who++) {
			const struct process_info *p = who ? child : info;
			assert_sv(p->commit, cases[i].commit);
			assert_sv(p->repository, cases[i].repository);
			assert_sv(p->process_tags, cases[i].process_tags);
			assert_sv(p->service, cases[i].service);
			assert_sv(p->base_service, i == 1 ? "cart" : "");
			assert_int_equal(p->report_hostname, cases[i].hostname);
			assert_int_equal(p->tag_cnt, cases[i].tags);
		}
		process_info_unref(info);
		process_info_unref(child);
	}
	/* Of a program that is no Python's, DD_MAIN_PACKAGE says nothing. */
	struct process_info *other = identity_of("DD_MAIN_PACKAGE=shop|DD_TAGS=python_main_package:x,a:b", NULL);
	assert_sv(other->python_package, "");
	assert_int_equal(other->tag_cnt, 1);
	process_info_unref(other);
	/* Scripts by their names, modules by theirs. */
	unlink(in_dir("proc/9/exe"));
	fake_process(root, 9, "python3", "/usr/bin/python3.11", "", 0);
	set_strings("cmdline", "python3|flask_app.py");
	struct process_info *info = identity_of("", NULL);
	assert_sv(info->process_tags, "entrypoint.basedir:my_shop,entrypoint.name:flask_app,entrypoint.type:script,"
				      "entrypoint.workdir:my_shop,svc.auto:flask_app");
	process_info_unref(info);
	set_strings("cmdline", "python3|-m|shop.worker");
	info = identity_of("DD_MAIN_PACKAGE=shop|DD_GIT_COMMIT_SHA=abc", NULL);
	assert_sv(info->python_package, "shop");
	assert_sv(info->commit, "abc");
	process_info_unref(info);
	info = identity_of("DD_MAIN_PACKAGE=shop|DD_TRACE_GIT_METADATA_ENABLED=0", NULL);
	assert_sv(info->python_package, "");
	process_info_unref(info);
	info = identity_of("", NULL);
	assert_sv(info->process_tags, "entrypoint.name:shop.worker,entrypoint.type:module,entrypoint.workdir:my_shop,"
				      "svc.auto:shop.worker");
	process_info_unref(info);
}

static void test_default_service(void **state)
{
	(void)state;
	static const struct {
		const char *exe, *cwd, *args, *service, *name, *language;
	} cases[] = {
		{"/usr/sbin/nginx", "/", "nginx: master process nginx", "nginx", "nginx", "cpp"},
		{"/usr/bin/python3.11", "/", "python3|/srv/checkout.py", "checkout", "checkout.py", "python"},
		{"/usr/bin/python3.11", "/", "python3|/srv/shop/app.py", "shop", "app.py", "python"},
		{"/usr/bin/python3.11", "/srv/shop", "python3|app.py", "shop", "app.py", "python"},
		{"/usr/bin/python3.11", "/srv/shop", "python3|./src/main.py", "shop", "main.py", "python"},
		{"/usr/bin/python3.11", "/srv/shop", "python3|manage.py|runserver", "shop", "manage.py", "python"},
		{"/usr/bin/python3.11", "/", "python3|/app/main.py", "app", "main.py", "python"},
		{"/usr/bin/python3.11", "/", "python3|/srv/shop/app/main.py", "shop", "main.py", "python"},
		{"/usr/bin/python3.11", "/", "python3|/main.py", "main", "main.py", "python"},
		{"/usr/bin/python3.11", "/", "python3|-m|shop.worker", "shop.worker", "shop.worker", "python"},
		{"/usr/bin/python3.11", "/", "python3|-m|shop.app", "shop", "shop.app", "python"},
		{"/usr/bin/python3.11", "/srv/shop", "python3|-m|app", "shop", "app", "python"},
		{"/usr/bin/python3.11", "/", "python3|-c|pass", "unnamed-python-service", "python3.11", "python"},
		{"/usr/bin/python3.11", "/", "python3|/usr/bin/gunicorn|-b|0.0.0.0:80|shop.wsgi:app", "shop",
		 "gunicorn", "python"},
		{"/usr/bin/python3.11", "/srv/shop", "python3|/usr/bin/uvicorn|main:app", "shop", "uvicorn", "python"},
		{"/usr/bin/python3.11", "/", "python3|-m|uvicorn|shop.api:app", "shop.api", "uvicorn", "python"},
		{"/usr/bin/python3.11", "/", "gunicorn: worker [shop.wsgi:app]", "shop", "gunicorn", "python"},
		{"/usr/bin/python3.11", "/", "python3|/usr/bin/celery|-A|proj|worker", "proj", "celery", "python"},
		{"/usr/bin/python3.11", "/", "python3|/usr/bin/gunicorn", "gunicorn", "gunicorn", "python"},
		{"/usr/bin/node", "/", "node|/srv/shop/dist/index.js", "shop", "index.js", "javascript"},
		{"/usr/bin/node", "/", "node|-e|1", "unnamed-javascript-service", "node", "javascript"},
		{"/usr/bin/node", "/", "node", "unnamed-javascript-service", "node", "javascript"},
		{"/usr/bin/java", "/", "java|-jar|/opt/shop-1.2.3-SNAPSHOT.jar", "shop", "shop-1.2.3-SNAPSHOT.jar",
		 "jvm"},
		{"/usr/bin/java", "/", "java|-jar|/opt/shop/app.jar", "shop", "app.jar", "jvm"},
		{"/usr/bin/java", "/", "java|-cp|x|com.acme.shop.Main", "shop", "com.acme.shop.Main", "jvm"},
		{"/usr/bin/java", "/", "java|com.acme.Checkout", "checkout", "com.acme.Checkout", "jvm"},
		{"/usr/bin/ruby3.1", "/srv/shop", "ruby|bin/rails|server", "rails", "rails", "ruby"},
		{"/usr/bin/php8.2", "/srv/shop", "php|artisan|serve", "shop", "artisan", "php"},
		{"/usr/sbin/php-fpm8.2", "/", "php-fpm: pool www", "php-fpm", "php-fpm8.2", "php"},
		{"/usr/bin/bash", "/", "-bash", "bash", "bash", "shell"},
		{"/usr/bin/dash", "/", "sh|-c|x", "dash", "dash", "shell"},
		{"/srv/shop/bin/server", "/", "server", "shop", "server", "cpp"},
		{"/usr/bin/server", "/", "server", "server", "server", "cpp"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		unlink(in_dir("proc/9/exe"));
		unlink(in_dir("proc/9/cwd"));
		fake_process(root, 9, "comm", cases[i].exe, "", 0);
		assert_int_equal(symlink(cases[i].cwd, in_dir("proc/9/cwd")), 0);
		set_strings("cmdline", cases[i].args);
		struct process_info *info = identity_of("", NULL);
		if (!sv_eq(info->service, sv_of(cases[i].service)) || !sv_eq(info->name, sv_of(cases[i].name)) ||
		    !sv_eq(info->language, sv_of(cases[i].language)))
			fail_msg("%s: service '" SV_FMT "' name '" SV_FMT "' language '" SV_FMT "'", cases[i].args,
				 SV_ARG(info->service), SV_ARG(info->name), SV_ARG(info->language));
		process_info_unref(info);
	}
	/* Nothing to go by but the comm. */
	assert_int_equal(unlink(in_dir("proc/9/exe")), 0);
	set_strings("cmdline", "");
	struct process_info *info = identity_of("", NULL);
	assert_sv(info->service, "comm");
	assert_sv(info->name, "comm");
	process_info_unref(info);
}

static void test_embedded_language(void **state)
{
	(void)state;
	struct process_info *info;
	fake_process(root, 9, "uwsgi", "/usr/bin/uwsgi-core", "uwsgi", 6);
	write_text(in_dir("proc/9/maps"), "1000-2000 r-xp 0 08:02 1 /usr/bin/uwsgi-core\n"
					  "3000-4000 r-xp 0 08:02 2 /usr/lib/libpython3.11.so.1.0\n");
	info = identity_of("", NULL);
	assert_sv(info->language, "python");
	process_info_unref(info);
}

static void test_real(void **state)
{
	(void)state;
	struct proc p = PROC_INIT;
	struct process_info *info, *child;
	struct identify_options o = {.hostname = identify_hostname()};
	char host[256];
	const char *const envp[] = {
		"PATH=/usr/bin:/bin",	    "DD_SERVICE=pay ments",	      "DD_ENV=prod", "DD_VERSION=1.2.3",
		"DD_TAGS=team:core tier:1", "DD_EXTERNAL_ENV=it-true,cn-web", NULL};
	const char *const argv[] = {"sleep", "1000", NULL};
	pid_t pid = spawn("/bin/sleep", argv, envp);
	assert_int_equal(proc_open(&p, "/proc", pid), 0);
	assert_int_equal(identify_process(&p, &o, &info), 0);
	assert_sv(info->service, "pay_ments");
	assert_sv(info->env, "prod");
	assert_sv(info->version, "1.2.3");
	assert_sv(info->name, "sleep");
	assert_sv(info->language, "cpp");
	assert_sv(info->external_env, "it-true,cn-web");
	assert_int_equal(info->cgroup_inode, 0); /* the host's cgroup namespace, as ours */
	assert_int_equal(info->tag_cnt, 2);
	assert_sv(info->tags[1].key, "tier");
	assert_int_equal(info->pid, pid);
	assert_int_equal(gethostname(host, sizeof(host)), 0);
	assert_sv(info->hostname, host);
	assert_int_equal(info->refs, 1);
	/* An environment of many pages comes whole. */
	static char filler[60000] = "FILLER=";
	memset(filler + 7, 'x', sizeof(filler) - 8);
	const char *const big[] = {filler, filler, "DD_SERVICE=behind", NULL};
	struct sv vars, behind;
	assert_int_equal(proc_open(&p, "/proc", spawn("/bin/sleep", argv, big)), 0);
	assert_int_equal(proc_environ(&p, &vars), 0);
	assert_int_equal(vars.len, 2 * sizeof(filler) + sizeof("DD_SERVICE=behind"));
	assert_true(environ_get(vars, "DD_SERVICE", &behind));
	assert_sv(behind, "behind");
	child = identify_fork(info, 77, 3);
	process_info_unref(info);
	assert_sv(child->service, "pay_ments");
	assert_sv(child->tags[0].value, "core");
	assert_int_equal(child->pid, 77);
	assert_int_equal(child->ns_pid, 3);
	process_info_unref(process_info_ref(child));
	process_info_unref(child);
	reap(pid);
	assert_int_equal(proc_open(&p, "/proc", pid), -ESRCH);
	assert_int_equal(identify_process(&p, &o, &info), -ESRCH);
	proc_close(&p);
}

/* A cgroup namespace of its own is what tells a container whose id does not show. */
static void test_cgroup_inode(void **state)
{
	(void)state;
	struct proc p = PROC_INIT;
	struct stat memory, v2;
	char path[512] = "", line[512], want_v1[600];
	FILE *f = fopen("/proc/self/cgroup", "r");
	while (f && fgets(line, sizeof(line), f))
		if (strstr(line, ":memory:"))
			snprintf(path, sizeof(path), "%s", strstr(line, ":memory:") + 8);
		else if (!path[0] && strncmp(line, "0::", 3) == 0)
			snprintf(path, sizeof(path), "%s", line + 3);
	if (f)
		fclose(f);
	path[strcspn(path, "\n")] = '\0';
	snprintf(want_v1, sizeof(want_v1), "/sys/fs/cgroup/memory/%s", path);
	snprintf(line, sizeof(line), "/sys/fs/cgroup/%s", path);
	bool has_v1 = stat(want_v1, &memory) == 0, has_v2 = stat(line, &v2) == 0;
	int ready[2];
	char byte = 0;
	assert_int_equal(pipe(ready), 0);
	pid_t pid = fork();
	if (pid == 0) {
		byte = unshare(CLONE_NEWCGROUP) == 0;
		if (write(ready[1], &byte, 1) == 1)
			pause();
		_exit(0);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(proc_open(&p, "/proc", pid), 0);
	if (byte)
		assert_int_equal(proc_cgroup_inode(&p), has_v1 ? memory.st_ino : has_v2 ? v2.st_ino : 0);
	else
		print_message("no cgroup namespaces here\n");
	proc_close(&p);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(ready[0]);
	close(ready[1]);
}

static void test_uuid(void **state)
{
	(void)state;
	char a[UUID_LEN + 1], b[UUID_LEN + 1];
	for (int round = 0; round < 200; round++) {
		uuid_make(a);
		uuid_make(b);
		assert_int_equal(strlen(a), UUID_LEN);
		assert_string_not_equal(a, b);
		for (size_t i = 0; i < UUID_LEN; i++)
			assert_true(i == 8 || i == 13 || i == 18 || i == 23 ? a[i] == '-'
									    : strchr("0123456789abcdef", a[i]) != NULL);
		assert_int_equal(a[14], '4');
		assert_non_null(strchr("89ab", a[19]));
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_root, end_test)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_precedence),	      TEST(test_dd_tags), TEST(test_tags), TEST(test_default_service),
		TEST(test_embedded_language), TEST(test_real),	  TEST(test_uuid), TEST(test_cgroup_inode),
		TEST(test_request_settings),  TEST(test_source),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
