/* SPDX-License-Identifier: Apache-2.0 */
#include "flow/calls.h"

#include <stdlib.h>

#include "base/histogram.h"
#include "base/sbuf.h"
#include "binary/demangle.h"
#include "spanhound/limits.h"

struct function_record {
	uint64_t errors;
	struct histogram durations;
};

struct calls {
	struct calls_options options;
	int64_t unix_minus_mono_ns;
	struct function_record **functions; /* made at the first call */
	struct calls_stats stats;
};

struct calls *calls_new(const struct calls_options *options)
{
	struct calls *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->options = *options;
	c->functions = calloc(options->max_functions ? options->max_functions : 1, sizeof(struct function_record *));
	if (!c->functions) {
		free(c);
		return NULL;
	}
	return c;
}

void calls_free(struct calls *c)
{
	if (!c)
		return;
	for (uint32_t i = 0; i < c->options.max_functions; i++)
		free(c->functions[i]);
	free(c->functions);
	free(c);
}

void calls_set_clock(struct calls *c, int64_t unix_minus_mono_ns)
{
	c->unix_minus_mono_ns = unix_minus_mono_ns;
}

static size_t capture_size(const struct sh_capture *cap)
{
	return sizeof(*cap) + (cap->len > 0 ? ((size_t)cap->len + 7) & ~(size_t)7 : 0);
}

/* The mangled name of the thrown type, empty when there is none. */
static struct sv call_exception(const struct sh_ev_call *e)
{
	const uint8_t *at = (const uint8_t *)(e + 1), *end = (const uint8_t *)e + e->hdr.size;
	while ((size_t)(end - at) >= sizeof(struct sh_capture)) {
		const struct sh_capture *cap = (const void *)at;
		if (capture_size(cap) > (size_t)(end - at))
			break;
		if (cap->index == SH_CAPTURE_EXCEPTION && cap->len > 0)
			return (struct sv){(const char *)(cap + 1), (size_t)cap->len};
		at += capture_size(cap);
	}
	return SV_NULL;
}

static void span_count(struct calls *c, uint32_t func, const struct span *span)
{
	c->stats.spans++;
	c->stats.errors += span->error;
	struct function_record **at = &c->functions[func];
	if (!*at)
		*at = calloc(1, sizeof(**at));
	if (!*at)
		return;
	(*at)->errors += span->error;
	histogram_add(&(*at)->durations, (uint64_t)span->duration_ns);
}

static void span_add_tag(struct span *s, struct sv key, struct sv value)
{
	s->tags[s->tag_cnt++] = (struct tag){key, value};
}

/* Tags that say how the call ended, when not by returning. */
static void span_add_outcome(struct span *s, uint16_t flags)
{
	if (flags & SH_CALL_UNFINISHED)
		span_add_tag(s, SV("spanhound.unfinished"), SV("true"));
	if (flags & SH_CALL_ENTRY_ONLY)
		span_add_tag(s, SV("spanhound.entry_only"), SV("true"));
	if (flags & SH_CALL_TAIL)
		span_add_tag(s, SV("spanhound.tail_call"), SV("true"));
	if (flags & SH_CALL_UNWOUND)
		span_add_tag(s, SV("spanhound.unwound"), flags & SH_CALL_EXCEPTION ? SV("exception") : SV("longjmp"));
}

/* typeid(T).name() is T's mangling without the leading _Z; "panic" is what the kernel half calls Rust's. */
static void span_add_exception(struct span *s, struct arena *arena, const struct sh_ev_call *e)
{
	struct sv type = call_exception(e);
	struct sbuf mangled = {0}, plain = {0};

	s->error = 1;
	if (!type.len)
		return;
	sbuf_adds(&mangled, "_ZTI");
	sbuf_addsv(&mangled, type.data[0] == '*' ? (struct sv){type.data + 1, type.len - 1} : type);
	if (demangle(sbuf_sv(&mangled), &plain) && sv_starts(sbuf_sv(&plain), SV("typeinfo for ")))
		type = (struct sv){plain.data + strlen("typeinfo for "), plain.len - strlen("typeinfo for ")};
	span_add_tag(s, SV("error.type"), arena_dup(arena, type));
	sbuf_release(&mangled);
	sbuf_release(&plain);
}

enum { SPAN_OWN_TAGS = 4, SPAN_OWN_METRICS = 1 };

static void span_add_thread(struct span *s, struct arena *arena, const struct actor *p, uint32_t tid)
{
	struct sv name = actor_thread_name(p, tid);
	if (name.len)
		span_add_tag(s, SV("thread.name"), arena_dup(arena, name));
	s->metrics[s->metric_cnt++] = (struct metric){SV("thread.id"), tid};
}

static void span_fill(struct calls *c, struct span *s, struct arena *arena, const struct sh_ev_call *e,
		      const struct function_info *f, const struct actor *p)
{
	s->span_id = e->span_id;
	s->parent_id = e->parent_id;
	s->start_ns = (int64_t)(e->start_ns + (uint64_t)c->unix_minus_mono_ns);
	s->duration_ns = e->end_ns > e->start_ns ? (int64_t)(e->end_ns - e->start_ns) : 0;
	s->service = f->service;
	s->name = f->name;
	s->resource = f->resource;
	s->type = f->type;
	s->normal = f->normal;
	s->clean = f->clean && !f->decorate && !(e->hdr.flags & SH_CALL_EXCEPTION);
	s->shared_tags = f->tags;
	s->shared_tag_cnt = f->tag_cnt;
	s->probe = f->probe;
	s->local_root = (e->hdr.flags & SH_CALL_ROOT) != 0;
	s->tags = arena_take(arena, SPAN_OWN_TAGS * sizeof(*s->tags));
	s->metrics = arena_take(arena, SPAN_OWN_METRICS * sizeof(*s->metrics));
	if (s->tags && s->metrics) {
		span_add_thread(s, arena, p, e->tid);
		span_add_outcome(s, e->hdr.flags);
		if (e->hdr.flags & SH_CALL_EXCEPTION)
			span_add_exception(s, arena, e);
	}
	if (f->decorate)
		f->decorate(f, e, s, arena);
}

static void calls_call(struct calls *c, const struct sh_ev_call *e, uint64_t now_ns)
{
	const struct function_info *f =
		e->func < c->options.max_functions ? c->options.function(c->options.arg, e->func) : NULL;
	struct actor *p = f && e->hdr.size >= sizeof(*e) ? actors_get(c->options.actors, e->tgid) : NULL;
	if (!p || !e->span_id) {
		c->stats.malformed++;
		return;
	}
	if (f->measure)
		f->measure(f, e, actor_info(p));
	if (f->no_span) {
		c->stats.metric_only++;
		assembly_forget(c->options.assembly, e->trace_hi, e->trace_lo, actor_info(p), e->span_id, e->parent_id,
				e->hdr.flags & SH_CALL_ROOT, now_ns);
		return;
	}
	struct chunk *chunk;
	struct span *s = assembly_add(c->options.assembly, e->trace_hi, e->trace_lo, actor_info(p), now_ns, &chunk);
	if (!s) {
		c->stats.trace_limit++;
		return;
	}
	span_fill(c, s, &chunk->arena, e, f, p);
	span_count(c, e->func, s);
	if (s->local_root)
		assembly_close(c->options.assembly, chunk);
}

static void calls_gone(struct calls *c, const struct sh_ev_gone *e, uint64_t now_ns)
{
	struct actor *p = e->hdr.size >= sizeof(*e) ? actors_get(c->options.actors, e->tgid) : NULL;
	if (p)
		assembly_forget(c->options.assembly, e->trace_hi, e->trace_lo, actor_info(p), e->span_id, e->parent_id,
				e->hdr.flags & SH_CALL_ROOT, now_ns);
}

void calls_record(struct calls *c, const struct sh_ev_hdr *record, uint64_t now_ns)
{
	switch (record->kind) {
	case SH_EV_CALL:
		calls_call(c, (const struct sh_ev_call *)record, now_ns);
		break;
	case SH_EV_GONE:
		calls_gone(c, (const struct sh_ev_gone *)record, now_ns);
		break;
	default:
		c->stats.malformed++;
	}
}

void calls_stats(const struct calls *c, struct calls_stats *ret)
{
	*ret = c->stats;
}

void calls_forget(struct calls *c, uint32_t index)
{
	struct function_record *r = index < c->options.max_functions ? c->functions[index] : NULL;
	if (r)
		*r = (struct function_record){0};
}

void calls_function_stats(const struct calls *c, uint32_t index, struct function_stats *ret)
{
	*ret = (struct function_stats){0};
	const struct function_record *r = index < c->options.max_functions ? c->functions[index] : NULL;
	if (!r)
		return;
	*ret = (struct function_stats){
		.spans = r->durations.cnt,
		.errors = r->errors,
		.p50_ns = histogram_quantile(&r->durations, 0.50),
		.p95_ns = histogram_quantile(&r->durations, 0.95),
		.max_ns = r->durations.max,
	};
}
