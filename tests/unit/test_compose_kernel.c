/* SPDX-License-Identifier: Apache-2.0 */
/* The headers that the kernel half writes, against those that the user half would write for the same context; and that both
 * decide alike about ten million ids. Skipped where no program may be loaded (not root, emulated). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <limits.h>
#include <sys/mman.h>
#include <unistd.h>

#include "compose_case.h"
#include "head_help.h"
#include "spanhound/events.h"
#include "trace/sampling/early.h"
#include "trace/sampling/threshold.h"

#define CONTEXTS 20000

static struct bpf_object *object;
static struct compose_case *it;
static struct sampling_batch *batch;
static struct sh_rates *table;
static int compose = -1, decide_many = -1;
static const char *why_not = "nothing was loaded";

static void *map_memory(const char *name, size_t size)
{
	void *p =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_object__find_map_fd_by_name(object, name), 0);
	assert_true(p != MAP_FAILED);
	return p;
}

static int load(void **state)
{
	char path[PATH_MAX + 16];
	(void)state;
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX);
	assert_true(n > 0);
	int map = bpf_map_create(BPF_MAP_TYPE_SOCKHASH, "any", 8, 8, 1, NULL);
	if (map == -EPERM || map == -ENOSYS) {
		why_not = strerror(-map);
		return 0;
	}
	close(map);
	path[n] = '\0';
	strcpy(strrchr(path, '/'), "/compose.bpf.o");
	object = bpf_object__open_file(path, NULL);
	assert_non_null(object);
	assert_int_equal(bpf_object__load(object), 0);
	compose = bpf_program__fd(bpf_object__find_program_by_name(object, "compose"));
	decide_many = bpf_program__fd(bpf_object__find_program_by_name(object, "decide_many"));
	it = map_memory("cases", sizeof(*it));
	batch = map_memory("batches", sizeof(*batch));
	table = map_memory("rates", SH_MAX_RATES * sizeof(*table));
	return 0;
}

static int unload(void **state)
{
	(void)state;
	bpf_object__close(object);
	return 0;
}

static void need_program(void)
{
	if (compose >= 0)
		return;
	print_message("no program can be loaded here: %s\n", why_not);
	skip();
}

static void run(int program)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	assert_int_equal(bpf_prog_test_run_opts(program, &opts), 0);
	assert_int_equal(opts.retval, 0);
}

/* --- blocks ------------------------------------------------------------------------------------------------------- */

static const struct {
	uint32_t flag;
	unsigned style;
} styles[] = {{SH_PROCESS_INJECT_BAGGAGE, PROPAGATION_STYLE_baggage},
	      {SH_PROCESS_INJECT_DATADOG, PROPAGATION_STYLE_datadog},
	      {SH_PROCESS_INJECT_B3MULTI, PROPAGATION_STYLE_b3multi},
	      {SH_PROCESS_INJECT_B3, PROPAGATION_STYLE_b3},
	      {SH_PROCESS_INJECT_TRACECONTEXT, PROPAGATION_STYLE_tracecontext}};
enum { STYLES = sizeof(styles) / sizeof(styles[0]) };

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add_sorted(struct sbuf *out, char *text, const char *separator)
{
	char *pieces[64], *save = NULL;
	size_t cnt = 0;
	for (char *p = strtok_r(text, separator, &save); p && cnt < 64; p = strtok_r(NULL, separator, &save))
		pieces[cnt++] = p;
	qsort(pieces, cnt, sizeof(pieces[0]), by_text);
	/* The id's upper half, of which test_own() is: here it is what traceparent says, there a tag if it came as one. */
	for (size_t i = 0; i < cnt; i++)
		if (strncmp(pieces[i], "t.tid:", 6) != 0 && strncmp(pieces[i], "_dd.p.tid=", 10) != 0)
			sbuf_addf(out, "%s%s", pieces[i], separator);
}

/* Tags in some order of their own; without what the kernel half left out; baggage there is or is not. */
static void canonical(struct sbuf *out, const char *block, uint8_t left)
{
	char copy[8192], *save = NULL;
	snprintf(copy, sizeof(copy), "%s", block);
	for (char *line = strtok_r(copy, "\r\n", &save); line; line = strtok_r(NULL, "\r\n", &save)) {
		char *value = strchr(line, ' ') + 1, *others = strchr(value, ',');
		if (strncmp(line, "baggage", 7) == 0) {
			sbuf_adds(out, left & SH_LEFT_BAGGAGE ? "" : "baggage\n");
		} else if (strncmp(line, "x-datadog-tags", 14) == 0) {
			if (!(left & SH_LEFT_TAGS))
				add_sorted(out, value, ",");
		} else if (strncmp(line, "tracestate", 10) == 0) {
			if (others)
				*others++ = '\0';
			sbuf_adds(out, "\ntracestate ");
			if (!(left & (SH_LEFT_TAGS | SH_LEFT_ORIGIN)))
				add_sorted(out, value, ";");
			if (others && !(left & SH_LEFT_STATE))
				head_others(sv_of(others), out);
		} else if (strncmp(line, "x-datadog-origin", 16) != 0 || !(left & SH_LEFT_ORIGIN)) {
			sbuf_addf(out, "%s\n", line);
		}
	}
}

struct expected {
	struct propagation_settings settings;
	struct propagation_context ctx;
	struct arena arena;
	struct sbuf block;
};

static void expect_begin(struct expected *x, uint32_t process)
{
	*x = (struct expected){.ctx = {.priority = PROPAGATION_PRIORITY_NONE}};
	propagation_settings_init(&x->settings);
	x->settings.inject = 0;
	for (int i = 0; i < STYLES; i++)
		x->settings.inject |= process & styles[i].flag ? 1u << styles[i].style : 0;
}

/* Decides as the sampler does. */
static void expect_decision(struct expected *x, const struct sh_rates *rates, enum sh_root root)
{
	const struct sh_choice *c = &rates->choices[rates->set - 1][root];
	static char dm[8];
	double rate;
	memcpy(&rate, &c->rate, sizeof(rate));
	assert_true(sampling_threshold(rate) == c->threshold);
	bool keep = sh_sampling_keeps(x->ctx.trace_lo, sampling_threshold(rate));
	x->ctx.priority = c->by & SH_BY_RULE ? (keep ? 2 : -1) : keep;
	snprintf(dm, sizeof(dm), "-%d", c->mechanism);
	propagation_set_tag(&x->ctx, &x->arena, SV("_dd.p.dm"), sv_of(dm));
	propagation_set_rate(&x->ctx, &x->arena, rate, keep);
}

static void expect_end(struct expected *x)
{
	arena_release(&x->arena);
	sbuf_release(&x->block);
}

static const char *block_text(void)
{
	assert_true(it->block_len < sizeof(it->block));
	it->block[it->block_len] = '\0';
	return (const char *)it->block;
}

static void run_compose(const struct sh_remote *remote, uint64_t trace_lo, uint32_t process, uint32_t rates,
			uint32_t link)
{
	static uint64_t ids = 1000;
	it->trace_lo = trace_lo;
	it->span_id = ids += 0x9e3779b97f4a7c15;
	it->parent_id = link ? 77 : 0;
	it->process = process;
	it->rates = rates;
	it->link = link;
	it->remote = *remote;
	run(compose);
}

static struct process_info shop = {.refs = 1, .pid = 1, .service = SV("shop"), .env = SV("prod")};
static const char rules[] =
	"[{\"resource\": \"GET /health\", \"sample_rate\": 0}, {\"name\": \"http.server.*\", \"sample_rate\": 0.25},"
	"{\"name\": \"http.client.request\", \"sample_rate\": 0.6}, {\"service\": \"other\", \"sample_rate\": 0}]";

/* Traces that begin here: byte for byte. */
static void test_own(void **state)
{
	static const uint32_t links[] = {SH_LINK_NONE,	   SH_LINK_THREAD, SH_LINK_CONNECTION,
					 SH_LINK_FUNCTION, SH_LINK_FORK,   SH_LINK_HANDOFF};
	struct sampling_vars vars = {.rules = SV(rules), .rate_limit = SV("-1")};
	struct early e;
	__u64 rng = 3;
	(void)state;
	need_program();
	early_init(&e, &vars);
	assert_int_equal(early_start(&e, table, SH_MAX_RATES), 0);
	early_answer(&e, SV("{\"rate_by_service\": {\"service:shop,env:prod\": 0.3, \"service:,env:\": 0.75}}"));
	uint32_t index = early_index(&e, &shop);
	assert_int_equal(index, 1);
	for (int i = 0; i < CONTEXTS; i++) {
		struct sh_remote r = {.trace_hi = i % 3 ? (head_below(&rng, 1u << 31) + 1) << 32 : 0,
				      .trace_lo = sh_next_id(&rng) >> head_below(&rng, 64),
				      .priority = SH_REMOTE_NO_PRIORITY,
				      .sampled = 1};
		r.trace_lo = r.trace_lo ? r.trace_lo : 1;
		struct expected x;
		uint32_t process = (uint32_t)head_below(&rng, 1u << 10), link = links[head_below(&rng, 6)],
			 rates = i & 1 ? index : 0;
		bool served = link <= SH_LINK_CONNECTION ||
			      (link == SH_LINK_HANDOFF && process & SH_PROCESS_TASKS); /* among goroutines */
		enum sh_root root = !link ? SH_ROOT_CLIENT : served ? SH_ROOT_SERVER : SH_ROOT_OTHER;
		expect_begin(&x, process);
		x.ctx.trace_hi = r.trace_hi;
		x.ctx.trace_lo = r.trace_lo;
		expect_decision(&x, &table[rates], root);
		run_compose(&r, sh_next_id(&rng), process, rates, link);
		propagation_inject(&x.settings, &x.ctx, it->span_id, &x.block);
		assert_string_equal(block_text(), sbuf_str(&x.block));
		assert_int_equal(it->decision.priority, x.ctx.priority);
		assert_true(it->decision.by & SH_BY_US);
		expect_end(&x);
	}
	early_release(&e);
}

/* Traces that came in, as they came. */
static void test_continued(void **state)
{
	static struct head_case c;
	struct early e;
	char text[4096];
	__u64 rng = 5;
	unsigned cnt = 0, exact = 0;
	(void)state;
	need_program();
	early_init(&e, &(struct sampling_vars){0});
	memset(table, 0, sizeof(*table));
	assert_int_equal(early_start(&e, table, SH_MAX_RATES), 0);
	for (int i = 0; i < 3 * CONTEXTS; i++) {
		head_make(&rng, text, sizeof(text));
		__u32 reads = head_any_reads(&rng);
		head_read(&c, text, strlen(text), "", reads);
		if (c.remote.unsure || !c.remote.trace_lo)
			continue;
		struct expected x;
		struct sbuf got = {0}, want = {0};
		uint32_t process = (uint32_t)head_below(&rng, 1u << 10);
		expect_begin(&x, process);
		head_extract(&x.arena, text, strlen(text), reads, &x.ctx);
		if (x.ctx.priority == PROPAGATION_PRIORITY_NONE) {
			x.ctx.tag_cnt = c.carry.out.has_dm ? 0 : x.ctx.tag_cnt;
			expect_decision(&x, &table[0], SH_ROOT_SERVER);
		}
		c.remote.carries = 1;
		it->carried = c.carry.out;
		run_compose(&c.remote, sh_next_id(&rng), process, 0, SH_LINK_THREAD);
		propagation_inject(&x.settings, &x.ctx, it->span_id, &x.block);
		cnt++;
		/* What the user half takes for no baggage goes on all the same. */
		uint8_t left = c.carry.out.left | (x.ctx.baggage_cnt ? 0 : SH_LEFT_BAGGAGE);
		exact += strcmp(block_text(), sbuf_str(&x.block)) == 0;
		canonical(&got, block_text(), left);
		canonical(&want, sbuf_str(&x.block), left);
		if (!sv_eq(sbuf_sv(&got), sbuf_sv(&want)))
			fail_msg("for\n%sthe kernel half writes\n%sthe user half\n%s", text, block_text(),
				 sbuf_str(&x.block));
		sbuf_release(&got);
		sbuf_release(&want);
		expect_end(&x);
	}
	early_release(&e);
	assert_true(cnt > CONTEXTS / 2 && exact > cnt / 2);
}

/* As long as everything may be, and every style. */
static void test_longest(void **state)
{
	struct sh_remote r = {.trace_hi = ~0ULL, .trace_lo = ~0ULL, .priority = -1, .carries = 1};
	struct sh_carried *c = &it->carried;
	(void)state;
	need_program();
	memset(c, 'x', sizeof(*c));
	c->left = c->has_dm = 0;
	c->tags_len = SH_CARRY_TAGS;
	c->items_len = SH_CARRY_ITEMS;
	c->origin_len = SH_CARRY_ORIGIN;
	c->state_len = SH_CARRY_STATE;
	c->baggage_len = SH_CARRY_BAGGAGE;
	run_compose(&r, 99, ~0u, 0, SH_LINK_THREAD);
	assert_true(it->block_len > 1600 && it->block_len <= 1792);
	assert_string_equal(block_text() + it->block_len - 2, "\r\n");
	char *dd = strstr(block_text(), "dd=");
	assert_non_null(dd);
	assert_true(strcspn(dd, ",") <= 256);
}

/* One decision for a trace, whatever the rates have become. */
static void test_stands(void **state)
{
	struct sh_remote r = {.trace_lo = 10, .priority = SH_REMOTE_NO_PRIORITY};
	struct early e;
	(void)state;
	need_program();
	early_init(&e, &(struct sampling_vars){0});
	memset(table, 0, 2 * sizeof(*table));
	run_compose(&r, 500, SH_PROCESS_INJECT_DATADOG, 0, 0);
	assert_int_equal(it->decision.by, 0); /* there is no table yet */
	assert_null(strstr(block_text(), "priority"));
	early_start(&e, table, SH_MAX_RATES);
	run_compose(&r, 501, SH_PROCESS_INJECT_DATADOG, 0, 0);
	assert_int_equal(it->decision.priority, 1);
	early_answer(&e, SV("{\"rate_by_service\": {\"service:,env:\": 0}}"));
	run_compose(&r, 501, SH_PROCESS_INJECT_DATADOG, 0, 0);
	assert_int_equal(it->decision.priority, 1);
	run_compose(&r, 502, SH_PROCESS_INJECT_DATADOG, 0, 0);
	assert_int_equal(it->decision.priority, 0);
	assert_int_equal(it->decision.choice.mechanism, MECHANISM_AGENT_RATE);
	early_release(&e);
}

/* Beyond the limit of a second they are dropped, by the same rule, and no random value is told. */
static void test_limit(void **state)
{
	struct sampling_vars vars = {.rules = SV("[{\"sample_rate\": 1}]"), .rate_limit = SV("7")};
	struct sh_remote r = {.trace_lo = 10, .priority = SH_REMOTE_NO_PRIORITY};
	struct early e;
	int kept = 0;
	(void)state;
	need_program();
	memset(table, 0, 2 * sizeof(*table));
	early_init(&e, &vars);
	early_start(&e, table, SH_MAX_RATES);
	uint32_t index = early_index(&e, &shop);
	for (int i = 0; i < 20; i++) {
		run_compose(&r, 1000 + (uint64_t)i, SH_PROCESS_INJECT_TRACECONTEXT, index, 0);
		assert_int_equal(it->decision.by, SH_BY_US | SH_BY_RULE | SH_BY_LIMIT);
		assert_int_equal(it->decision.choice.mechanism, MECHANISM_RULE);
		assert_true(it->decision.priority == (strstr(block_text(), "ot=") ? 2 : -1));
		kept += it->decision.priority > 0;
	}
	assert_true(kept >= 7 && kept < 20 && kept % 7 == 0); /* a second may have gone by */
	early_release(&e);
}

static void test_ten_million(void **state)
{
	static const double rates[] = {0, 1, 0.5, 0.1, 0.01, 0.333333, 0.9999999, 1e-9, 0.6, 0.25};
	enum { EACH = 1000000 };
	__u64 rng = 11;
	(void)state;
	need_program();
	for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
		uint64_t kept = 0, sum = 0, wrong = 0;
		*batch = (struct sampling_batch){.rng = rng, .threshold = sampling_threshold(rates[i]), .cnt = EACH};
		run(decide_many);
		for (int n = 0; n < EACH; n++) {
			uint64_t id = sh_next_id(&rng);
			/* The formula, in numbers of any size that matters. */
			bool keep = rates[i] >= 1 || (rates[i] > 0 && (long double)(id * 1111111111111111111ULL) <=
									      (long double)(rates[i] * 0x1p64));
			wrong += keep != sh_sampling_keeps(id, sampling_threshold(rates[i]));
			kept += keep;
			sum += keep ? sh_mix64(id) : 0;
		}
		assert_int_equal(wrong, 0);
		assert_int_equal(batch->kept, kept);
		assert_true(batch->sum == sum && batch->rng == rng);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_own),    cmocka_unit_test(test_continued), cmocka_unit_test(test_longest),
		cmocka_unit_test(test_stands), cmocka_unit_test(test_limit),	 cmocka_unit_test(test_ten_million),
	};
	return cmocka_run_group_tests(tests, load, unload);
}
