/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <time.h>

#include "base/utf8.h"
#include "base/vec.h"
#include "export/console_line.h"

#define T0 1700000000123456789 /* 22:13:20.123 UTC */

static struct process_info checkout = {.refs = 1, .pid = 2313, .ns_pid = 2313, .service = SV("checkout")};

static void check(const struct chunk *c, struct console_style style, const char *want)
{
	struct console_tree t = {0};
	struct sbuf out = {0};
	console_tree_print(&t, c, &style, &out);
	assert_false(out.failed);
	assert_string_equal(sbuf_str(&out), want);
	sbuf_release(&out);
	console_tree_release(&t);
}

static struct tag currency[] = {{SV("currency"), SV("EUR")}, {SV("thread.name"), SV("w-1")}};
static struct metric amount[] = {{SV("amount"), 1200}};
static struct tag declined[] = {{SV("error.type"), SV("shop::CardDeclined")},
				{SV("error.message"), SV("card declined by issuer\nfor reason 51")}};
static const struct tag shared[] = {{SV("code.function"), SV("f")}, {SV("team"), SV("core")}};
static struct span order[] = {
	{.span_id = 2,
	 .parent_id = 1,
	 .name = SV("parse_order"),
	 .start_ns = T0 + 10000,
	 .duration_ns = 1200000,
	 .metrics = amount,
	 .metric_cnt = 1},
	{.span_id = 4,
	 .parent_id = 3,
	 .name = SV("query"),
	 .resource = SV("SELECT * FROM cards WHERE id = ?"),
	 .service = SV("cards-db"),
	 .start_ns = T0 + 1400000,
	 .duration_ns = 4100000},
	{.span_id = 7, .parent_id = 5, .name = SV("send"), .start_ns = T0 + 5700000, .duration_ns = 950},
	{.span_id = 8, .parent_id = 5, .name = SV("recv"), .start_ns = T0 + 5800000, .duration_ns = 4950123},
	{.span_id = 5,
	 .parent_id = 3,
	 .name = SV("payment.charge"),
	 .resource = SV("EUR"),
	 .start_ns = T0 + 5600000,
	 .duration_ns = 5300000,
	 .error = 1,
	 .tags = declined,
	 .tag_cnt = 2,
	 .metrics = amount,
	 .metric_cnt = 1},
	{.span_id = 3,
	 .parent_id = 1,
	 .name = SV("charge_card"),
	 .tags = currency,
	 .tag_cnt = 2,
	 .shared_tags = shared,
	 .shared_tag_cnt = 2,
	 .start_ns = T0 + 1300000,
	 .duration_ns = 9700000},
	{.span_id = 6, .parent_id = 1, .name = SV("reply"), .start_ns = T0 + 11100000, .duration_ns = 1240},
	{.span_id = 17, .parent_id = 55, .name = SV("lost child"), .start_ns = T0 + 12000000, .duration_ns = 300000},
	{.span_id = 1, .name = SV("handle_order"), .start_ns = T0, .duration_ns = 12400000, .local_root = 1},
};
static const struct chunk order_chunk = {.trace_hi = 0x6b00c44a00000000,
					 .trace_lo = 0xa1b2c3d4e5f60718,
					 .process = &checkout,
					 .spans = order,
					 .span_cnt = 9};

static void golden_wide(void **state)
{
	(void)state;
	check(&order_chunk, (struct console_style){.width = 100, .utf8 = true},
	      "▶ checkout  12.4 ms  9 spans  trace 6b00c44a00000000a1b2c3d4e5f60718  pid 2313  22:13:20.123\n"
	      "handle_order                                                        12.4 ms ████████████████████████\n"
	      "├─ parse_order  amount=1200                                         1.20 ms ██▍\n"
	      "├─ charge_card  currency=EUR team=core                              9.70 ms   ▐██████████████████▎\n"
	      "│  ├─ cards-db › query SELECT * FROM cards WHERE id = ?             4.10 ms   ▐███████▋\n"
	      "│  └─ ✗ payment.charge EUR  amount=1200                             5.30 ms           ▐██████████▏\n"
	      "│     │  shop::CardDeclined: card declined by issuer\\nfor reason 51\n"
	      "│     ├─ send                                                        950 ns            ▏\n"
	      "│     └─ recv                                                       4.95 ms            █████████▊\n"
	      "└─ reply                                                            1.24 µs                      ▏\n"
	      "┄ under calls that were not seen\n"
	      "└─ lost child                                                        300 µs                        ▌\n"
	      "\n");
}

static void golden_ascii(void **state)
{
	(void)state;
	check(&order_chunk, (struct console_style){.width = 80},
	      "> checkout  12.4 ms  9 spans  trace 6b00c44a00000000a1b2c3d4e5f60718  pid 2313 ~\n"
	      "handle_order                                            12.4 ms ================\n"
	      "|- parse_order  amount=1200                             1.20 ms ==\n"
	      "|- charge_card  currency=EUR team=core                  9.70 ms   ============\n"
	      "|  |- cards-db > query SELECT * FROM cards WHERE id =~  4.10 ms   =====\n"
	      "|  `- ! payment.charge EUR  amount=1200                 5.30 ms        =======\n"
	      "|     |  shop::CardDeclined: card declined by issuer\\nfor reason 51\n"
	      "|     |- send                                            950 ns        =\n"
	      "|     `- recv                                           4.95 ms        =======\n"
	      "`- reply                                                1.24 us               =\n"
	      "- under calls that were not seen\n"
	      "`- lost child                                            300 us                =\n"
	      "\n");
}

static void golden_narrow(void **state)
{
	(void)state;
	check(&order_chunk, (struct console_style){.width = 50, .utf8 = true},
	      "▶ checkout  12.4 ms  9 spans  trace 6b00c44a00000…\n"
	      "handle_order                      12.4 ms ████████\n"
	      "├─ parse_order  amount=1200       1.20 ms ▊\n"
	      "├─ charge_card  currency=EUR te…  9.70 ms ▐██████▏\n"
	      "│  ├─ cards-db › query SELECT *…  4.10 ms ▐██▌\n"
	      "│  └─ ✗ payment.charge EUR  amo…  5.30 ms    ▐███\n"
	      "│     │  shop::CardDeclined: card declined by iss…\n"
	      "│     ├─ send                      950 ns    ▏\n"
	      "│     └─ recv                     4.95 ms    ▐██▉\n"
	      "└─ reply                          1.24 µs        ▏\n"
	      "┄ under calls that were not seen\n"
	      "└─ lost child                      300 µs        ▏\n"
	      "\n");
}

static void golden_color(void **state)
{
	(void)state;
	struct chunk c = order_chunk;
	c.spans = order + 4;
	c.span_cnt = 1;
	c.partial = 1;
	check(&c, (struct console_style){.width = 80, .utf8 = true, .color = true},
	      "\033[1m▶ \033[0m\033[1mcheckout\033[0m  5.30 ms  1 span so far  \033[2mtrace "
	      "6b00c44a00000000a1b2c3d4e5f60718  pid…\033[0m\n"
	      "\033[2m┄ \033[0m\033[2munder calls that have not ended yet\033[0m\n"
	      "\033[2m└─ \033[0m\033[1;31m✗ \033[0m\033[1;31mpayment.charge\033[0m EUR \033[2m amount=1200\033[0m      "
	      "              \033[31m5.30 ms\033[0m \033[31m████████████████\033[0m\n"
	      "\033[2m   \033[0m\033[2m   \033[0m\033[31mshop::CardDeclined\033[0m\033[31m: \033[0m\033[31mcard "
	      "declined by issuer\\nfor reason 51\033[0m\n"
	      "\n");
}

/* --- whatever comes, lines stay within the width and the terminal is not steered ---------------------------------- */

/* Fails when the text holds a control character other than the newline, or a line wider than `width`. */
static void check_tame(struct sv text, unsigned width)
{
	unsigned col = 0;
	for (size_t i = 0, n; i < text.len; i += n) {
		assert_true(utf8_len((struct sv){text.data + i, text.len - i}) > 0);
		uint32_t cp = utf8_decode((struct sv){text.data + i, text.len - i}, &n);
		if (cp == '\n') {
			col = 0;
			continue;
		}
		assert_true(cp >= 0x20 && (cp < 0x7f || cp >= 0xa0));
		assert_false(cp >= 0x202a && cp <= 0x202e);
		col += (unsigned)utf8_width(cp);
		assert_true(col <= width);
	}
}

static size_t count_lines(struct sv text)
{
	size_t n = 0;
	for (size_t i = 0; i < text.len; i++)
		n += text.data[i] == '\n';
	return n;
}

static struct sv random_text(char *out, size_t max)
{
	static const char *const bits[] = {"a",	 "bc",	     "\n", "\033[31m", "\xe2\x80\xae", "繋", "é", "\xff",
					   "\r", "\xc2\x9b", "🐨",  "́"};
	size_t n = 0;
	for (int left = rand() % 30; left > 0; left--) {
		const char *s = bits[(size_t)rand() % (sizeof(bits) / sizeof(bits[0]))];
		if (n + strlen(s) > max)
			break;
		memcpy(out + n, s, strlen(s));
		n += strlen(s);
	}
	return (struct sv){out, n};
}

static void random_trees(void **state)
{
	(void)state;
	srand(3);
	struct console_tree t = {0};
	struct sbuf out = {0};
	for (int round = 0; round < 3000; round++) {
		struct span spans[40];
		char names[40][64], values[40][64];
		struct tag tags[40];
		uint32_t cnt = 1 + (uint32_t)rand() % 40;
		for (uint32_t i = 0; i < cnt; i++) {
			tags[i] = (struct tag){SV("k"), random_text(values[i], 64)};
			spans[i] = (struct span){
				/* Parents anywhere, also itself, also in circles, also missing; ids twice. */
				.span_id = 1 + (uint64_t)rand() % 45,
				.parent_id = (uint64_t)rand() % 50,
				.name = random_text(names[i], 64),
				.start_ns = rand() % 1000 - 500,
				.duration_ns = rand() % 50 ? rand() % 2000 - 100 : INT64_MAX,
				.local_root = rand() % 10 == 0,
				.tags = &tags[i],
				.tag_cnt = (uint16_t)(rand() % 2),
			};
		}
		struct chunk c = {.trace_lo = 1, .process = &checkout, .spans = spans, .span_cnt = cnt};
		struct console_style style = {.width = 20 + (unsigned)rand() % 150, .utf8 = rand() % 2};
		sbuf_reset(&out);
		console_tree_print(&t, &c, &style, &out);
		check_tame(sbuf_sv(&out), style.width < 40 ? 40 : style.width);
		/* Head, every span once, perhaps the line above orphans, the empty line. */
		size_t lines = count_lines(sbuf_sv(&out));
		assert_in_range(lines, cnt + 2, cnt + 3);
	}
	sbuf_release(&out);
	console_tree_release(&t);
}

static void deep_and_long(void **state)
{
	(void)state;
	enum { CNT = 100000 };
	struct span *spans = calloc(CNT, sizeof(*spans));
	struct chunk c = {.trace_lo = 1, .process = &checkout, .spans = spans, .span_cnt = CNT};
	struct console_style style = {.width = 80, .utf8 = true};
	struct console_tree t = {0};
	struct sbuf out = {0};
	/* Each inside the one before. */
	for (uint32_t i = 0; i < CNT; i++)
		spans[i] = (struct span){.span_id = i + 1,
					 .parent_id = i,
					 .name = SV("deep"),
					 .start_ns = i,
					 .duration_ns = 2 * (CNT - i)};
	console_tree_print(&t, &c, &style, &out);
	check_tame(sbuf_sv(&out), 80);
	assert_int_equal(count_lines(sbuf_sv(&out)), CONSOLE_MAX_SPANS + 3);
	assert_non_null(strstr(sbuf_str(&out), "\n… 99800 more spans of this trace\n"));
	assert_non_null(strstr(sbuf_str(&out), "deep  "));
	/* All beside each other. */
	sbuf_reset(&out);
	for (uint32_t i = 1; i < CNT; i++)
		spans[i].parent_id = 1;
	console_tree_print(&t, &c, &style, &out);
	assert_int_equal(count_lines(sbuf_sv(&out)), CONSOLE_MAX_SPANS + 3);
	free(spans);
	sbuf_release(&out);
	console_tree_release(&t);
}

static void durations(void **state)
{
	(void)state;
	static const struct {
		int64_t ns;
		const char *want;
	} v[] = {
		{-5, "0 ns"},
		{0, "0 ns"},
		{999, "999 ns"},
		{1000, "1.00 µs"},
		{9994, "9.99 µs"},
		{9995, "10.0 µs"},
		{99949, "99.9 µs"},
		{99950, "100 µs"},
		{999499, "999 µs"},
		{999500, "1.00 ms"},
		{12400000, "12.4 ms"},
		{999500000, "1.00 s"},
		{59940000000, "59.9 s"},
		{59950000000, "1m 00s"},
		{123000000000, "2m 03s"},
		{3599600000000, "1h 00m"},
		{INT64_MAX, "2562047h 47m"},
	};
	for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		struct sbuf b = {0};
		console_duration(&b, v[i].ns, true);
		assert_string_equal(sbuf_str(&b), v[i].want);
		sbuf_release(&b);
	}
	struct sbuf b = {0};
	console_duration(&b, 1500, false);
	assert_string_equal(sbuf_str(&b), "1.50 us");
	sbuf_release(&b);
}

static void bars(void **state)
{
	(void)state;
	static const struct {
		double from, to;
		bool utf8;
		const char *want;
	} v[] = {
		{0, 1, true, "████"},	 {0, 0, true, "▏"},	    {1, 1, true, "   ▏"},
		{0.5, 1, true, "  ██"},	 {0.25, 0.75, true, " ██"}, {0.125, 0.5, true, "▐█"},
		{0.03, 0.5, true, "██"}, {0, 0.53125, true, "██▏"}, {0.25, 0.3, true, " ▎"},
		{0, 1, false, "===="},	 {0.5, 0.5, false, "  ="},  {1, 1, false, "   ="},
	};
	for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		struct sbuf b = {0};
		struct console_style style = {.width = 80, .utf8 = v[i].utf8};
		struct console_line l = {.out = &b, .style = &style, .max = 80};
		console_line_bar(&l, CONSOLE_PLAIN, 4, v[i].from, v[i].to);
		assert_string_equal(sbuf_str(&b), v[i].want);
		assert_true(l.col <= 4);
		sbuf_release(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden_wide),	cmocka_unit_test(golden_ascii), cmocka_unit_test(golden_narrow),
		cmocka_unit_test(golden_color), cmocka_unit_test(random_trees), cmocka_unit_test(deep_and_long),
		cmocka_unit_test(durations),	cmocka_unit_test(bars),
	};
	setenv("TZ", "UTC", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
