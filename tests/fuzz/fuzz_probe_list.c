/* SPDX-License-Identifier: Apache-2.0 */
/* A probe list from anywhere: read, reported and, what of it is good, put to use on a made-up call. */
#include <stdint.h>
#include <stdlib.h>

#include "probe/list.h"
#include "trace/assembly.h"

static void use(const struct probe *probe, const uint8_t *data, size_t size)
{
	char text[TEMPLATE_MAX_SZ];
	struct {
		struct sh_ev_call call;
		uint8_t captures[256];
	} record = {.call = {.hdr.flags = SH_CALL_RET, .ret = size}};
	struct call_values values = {.function = SV("function")};
	size_t len = size < sizeof(record.captures) ? size : sizeof(record.captures);
	memcpy(record.captures, data, len);
	if (probe->spec.capture_cnt > SH_MAX_CAPTURES || probe->spec.ret_from > probe->spec.capture_cnt ||
	    probe->spec.cond_cnt > SH_MAX_CONDS)
		abort();
	for (unsigned i = 0; i < probe->spec.capture_cnt; i++) {
		const struct sh_capture_spec *c = &probe->spec.captures[i];
		bool at_return = i >= probe->spec.ret_from;
		if (probe->broken)
			break;
		if ((c->arg == 0) != at_return || c->arg > SH_MAX_ARGS || c->max_len > SH_MAX_STRING ||
		    c->len_from > i || c->deref_cnt > SH_MAX_DEREFS || (value_type_is_memory(c->type) && !c->max_len))
			abort();
	}
	call_values_read(&values, &probe->spec, probe->return_type, &record.call, sizeof(record.call) + len);
	condition_eval(&probe->error.when, &values);
	template_render(&probe->span.name, &values, text);
	template_render(&probe->span.resource, &values, text);
	template_render(&probe->error.message, &values, text);
	for (unsigned i = 0; i < probe->span.tag_cnt; i++)
		template_render(&probe->span.tags[i].value, &values, text);
	for (unsigned i = 0; i < probe->span.metric_cnt; i++) {
		double number;
		call_value_number(&values.v[probe->span.metrics[i].value], &number);
	}
}

/* The span rules on a chunk of two. */
static void rule(const struct probe_list *list)
{
	struct process_info shop = {.refs = 1, .service = SV("shop"), .target = 1};
	struct chunk_pool *pool = chunk_pool_new(100);
	struct chunk *c = pool ? chunk_pool_get(pool) : NULL;
	struct span_ruler ruler = {.rules = &list->span_rules};
	if (c)
		c->process = process_info_ref(&shop);
	for (uint64_t i = 2; c && i > 0; i--) {
		struct span *s = chunk_add(c);
		struct tag *tag = arena_alloc(&c->arena, sizeof(*tag));
		*tag = (struct tag){SV("http.method"), SV("GET")};
		*s = (struct span){.span_id = i, .parent_id = i - 1, .local_root = i == 1, .name = SV("http.request")};
		s->tags = tag;
		s->tag_cnt = 1;
	}
	if (c && span_ruler_chunk(&ruler, c) != (c->span_cnt > 0))
		abort();
	span_ruler_release(&ruler);
	chunk_pool_put(pool, c);
	chunk_pool_free(pool);
}

/* libfyaml 0.7.12 loses a buffer in some of its syntax errors; ours to find are our own. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libfyaml.so";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct diagnostics d = {0};
	struct probe_list *list;
	struct sbuf said = {0};
	int err = probe_list_parse(&list, "fuzz", (const char *)data, size, &d);
	if ((err == 0) != (d.error_cnt == 0) || (err == 0 && !list))
		abort();
	for (size_t i = 0; i < d.items.cnt; i++)
		if (!d.items.data[i].pos.line || !d.items.data[i].pos.column)
			abort();
	diagnostics_print(&d, &said);
	if (list) {
		vec_foreach (probe, &list->probes)
			use(probe, data, size);
		rule(list);
	}
	sbuf_release(&said);
	diagnostics_release(&d);
	probe_list_free(list);
	return 0;
}
