/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/prices.h"
#include "app/cmd.h"
#include "app/resolve.h"
#include "base/log.h"
#include "kernel/capabilities.h"

/* Those that cannot be probed, as rows of the output. */
struct skipped_list {
	struct sbuf text;
	unsigned cnt;
	bool json;
};

static void json_row_begin(struct sbuf *out, struct sv name)
{
	sbuf_adds(out, out->len ? ",\n{\"name\":" : "{\"name\":");
	sbuf_add_json(out, name);
}

static void note_skipped(void *arg, struct sv display, struct sv module, const char *why, bool by_name)
{
	struct skipped_list *s = arg;
	(void)by_name;
	s->cnt++;
	if (!s->json) {
		sbuf_addf(&s->text, "%-18s %8s  %-11s %-6s %9s  " SV_FMT ": %s\n", "", "", "no", "", "",
			  SV_ARG(display), why);
		return;
	}
	json_row_begin(&s->text, display);
	sbuf_adds(&s->text, ",\"module\":");
	sbuf_add_json(&s->text, module);
	sbuf_adds(&s->text, ",\"probeable\":false,\"reason\":");
	sbuf_add_json(&s->text, sv_of(why));
	sbuf_addc(&s->text, '}');
}

static const char *function_remark(const struct plan_function *f)
{
	return f->entry_only ? f->entry_only : f->no_return;
}

static void add_json(struct sbuf *out, const struct plan_function *f, const struct price_list *prices)
{
	json_row_begin(out, f->display);
	sbuf_adds(out, ",\"symbol\":");
	sbuf_add_json(out, f->raw);
	sbuf_adds(out, ",\"aliases\":[");
	for (uint32_t i = 0; i < f->alias_cnt; i++) {
		sbuf_adds(out, i ? "," : "");
		sbuf_add_json(out, f->aliases[i]);
	}
	sbuf_adds(out, "],\"module\":");
	sbuf_add_json(out, f->module);
	sbuf_addf(out,
		  ",\"address\":%" PRIu64 ",\"size\":%" PRIu64
		  ",\"probeable\":true,\"cost\":\"%s\",\"end\":\"%s\",\"price_ns\":%.0f",
		  f->addr, f->size, cost_name(f->cost), site_end_name(f->end), function_price(prices, f));
	if (function_remark(f)) {
		sbuf_adds(out, ",\"reason\":");
		sbuf_add_json(out, sv_of(function_remark(f)));
	}
	sbuf_addc(out, '}');
}

static void print_text(const struct plan_function *f, const struct price_list *prices)
{
	const char *remark = function_remark(f);
	printf("0x%-16" PRIx64 " %8" PRIu64 "  %-11s %-6s %6.0f ns  " SV_FMT "%s%s%s\n", f->addr, f->size,
	       cost_name(f->cost), site_end_name(f->end), function_price(prices, f), SV_ARG(f->display),
	       remark ? "  (" : "", remark ? remark : "", remark ? ")" : "");
}

static void print_functions(const struct resolve *r, const struct options *o, struct sbuf *json)
{
	struct plan_stats stats;
	struct price_list prices = {0};
	struct sbuf err = {0};
	struct sv module = SV_NULL;
	int link = link_kind_choose(&err);

	if (link < 0 || price_list_measure((enum link_kind)link, &prices, &err) < 0)
		log_warn("prices are not known: %s", sbuf_str(&err));
	plan_stats(r->plan, &stats);
	if (!o->json)
		printf("%-18s %8s  %-11s %-6s %9s  function\n", "address", "size", "entry", "end", "price");
	for (uint32_t i = 0; i < stats.known; i++) {
		const struct plan_function *f = plan_function(r->plan, i);
		if (!o->json && !sv_eq(module, f->module))
			printf("%s" SV_FMT ":\n", i ? "\n" : "", SV_ARG(f->module));
		module = f->module;
		if (o->json)
			add_json(json, f, &prices);
		else
			print_text(f, &prices);
	}
	sbuf_release(&err);
}

static void print_totals(const struct plan_stats *s, unsigned skipped, uint32_t pages)
{
	printf("\n%u functions: entry fast at %u (%.0f %%); end by return %u, by end sites %u, not at all %u; %u cannot be probed\n",
	       s->functions, s->fast_entries, s->functions ? 100.0 * s->fast_entries / s->functions : 0, s->by_return,
	       s->by_sites, s->entry_only, skipped);
	printf("entry: what the entry probe's instruction costs; nop and emulated are fast. end: how the end of a call "
	       "is seen.\n"
	       "A probe makes the 4 KiB page under it private in each process that maps the file: %u pages, %u KiB, "
	       "for all of these.\n",
	       pages, pages * (PLAN_PAGE_SZ / 1024));
}

static int list_functions(struct options *o)
{
	struct skipped_list skipped = {.json = o->json};
	struct sbuf err = {0}, json = {0};
	struct resolve r;
	struct plan_stats stats;

	for (int i = 0; i < o->rest_cnt; i++)
		if (probe_list_add_function(o->list, o->rest[i], &err) < 0) {
			log_error("'%s': %s", o->rest[i], sbuf_str(&err));
			sbuf_release(&err);
			return EXIT_USAGE;
		}
	if (!o->list->probes.cnt && probe_list_add_function(o->list, "*", &err) < 0)
		return SESSION_FAILED;
	int rc = resolve_targets(&r, o, note_skipped, &skipped, true);
	if (rc == SESSION_CLEAN) {
		plan_stats(r.plan, &stats);
		print_functions(&r, o, &json);
		if (o->json)
			printf("{\"functions\":[%s%s%s],\"pages\":%u}\n", sbuf_str(&json),
			       json.len && skipped.text.len ? ",\n" : "", sbuf_str(&skipped.text), plan_pages(r.plan));
		else
			fputs(sbuf_str(&skipped.text), stdout);
		plan_report(r.plan, &o->diagnostics);
		sbuf_reset(&err);
		diagnostics_print(&o->diagnostics, &err);
		fputs(sbuf_str(&err), stderr);
		if (!o->json)
			print_totals(&stats, skipped.cnt, plan_pages(r.plan));
		if (o->diagnostics.error_cnt)
			rc = SESSION_MISTAKE;
	}
	resolve_release(&r);
	sbuf_release(&skipped.text);
	sbuf_release(&json);
	sbuf_release(&err);
	return rc;
}

int cmd_functions(int argc, char **argv)
{
	struct options o;
	int rc = options_parse(&o, COMMAND_functions, argc, argv), status = options_exit_status(rc);

	if (rc == 0 && !o.list->targets.cnt) {
		log_error("functions of what? Name a process: spanhound functions --name GLOB ['FUNCTION-GLOB']");
		status = EXIT_USAGE;
	} else if (rc == 0) {
		status = list_functions(&o);
	}
	options_release(&o);
	return status;
}
