/* SPDX-License-Identifier: Apache-2.0 */
/* What an exchange keeps of the heads that passed. */
#include <string.h>
#include <sys/socket.h>

#include "flow/connection.h"
#include "spanhound/option.h"
#include "trace/propagation/propagation.h"

static void facts_address(struct http_address *to, const struct connection *n, const uint8_t from[16], uint16_t port)
{
	if (n->family == AF_INET) {
		to->family = 4;
		memcpy(to->bytes, from + 12, 4);
	} else if (n->family == AF_INET6) {
		static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
		bool is_mapped = !memcmp(from, mapped, sizeof(mapped));
		to->family = is_mapped ? 4 : 6;
		memcpy(to->bytes, is_mapped ? from + 12 : from, is_mapped ? 4 : 16);
	}
	to->port = port;
}

void connection_keep_addresses(const struct connection *n, struct exchange *x)
{
	facts_address(&x->facts.peer, n, n->remote, n->remote_port);
	facts_address(&x->facts.local, n, n->local, n->local_port);
}

/* The wanted headers that came, kept; those that may name a trace also in `context`. */
static uint32_t keep_headers(const struct connection_shared *s, struct arena *a, const struct http1_head *head,
			     const struct http_header **ret, struct propagation_headers *context)
{
	uint32_t cnt = (uint32_t)__builtin_popcountll(head->present), at = 0;
	struct http_header *list = cnt ? arena_alloc(a, cnt * sizeof(*list)) : NULL;
	for (uint64_t left = list ? head->present : 0; left; left &= left - 1) {
		int i = __builtin_ctzll(left);
		list[at] = (struct http_header){s->http1.wanted.names[i], arena_dup(a, head->values[i])};
		if (context && s->context_header[i])
			context->value[s->context_header[i] - 1] = list[at].value;
		at++;
	}
	*ret = list;
	return at;
}

/* The trace its headers say the request belongs to. */
static void exchange_extract(struct exchange *x, struct actors *actors, const struct propagation_headers *headers)
{
	const struct actor *actor = actors_get(actors, x->tgid);
	struct propagation_context *context = actor ? arena_alloc(&x->arena, sizeof(*context)) : NULL;
	if (!context || propagation_extract(&actor_requests(actor)->propagation, headers, &x->arena, context) <= 0)
		return;
	if (!context->trace_lo) /* no parent in a trace that is another's */
		context->span_id = 0;
	if (x->facts.server)
		x->remote = context;
	else if (!x->renamed && !actor_info(actor)->instrumented)
		x->named = context;
}

static bool has_context(const struct connection_shared *s, uint64_t present)
{
	for (; present; present &= present - 1)
		if (s->context_header[__builtin_ctzll(present)])
			return true;
	return false;
}

void connection_keep_request(const struct connection *n, struct exchange *x, const struct http1_head *head)
{
	struct http_facts *f = &x->facts;
	bool extract = has_context(n->shared, head->present);
	struct propagation_headers context;
	if (extract)
		context = (struct propagation_headers){0};
	f->server = n->server;
	f->truncated = head->truncated;
	f->minor = head->minor;
	f->method = arena_dup(&x->arena, head->method);
	f->target = arena_dup(&x->arena, head->target);
	f->host = arena_dup(&x->arena, head->host);
	f->user_agent = arena_dup(&x->arena, head->user_agent);
	f->request_header_cnt =
		keep_headers(n->shared, &x->arena, head, &f->request_headers, extract ? &context : NULL);
	connection_keep_addresses(n, x);
	if (extract)
		exchange_extract(x, n->shared->actors, &context);
}

void connection_keep_response(const struct connection *n, struct exchange *x, const struct http1_head *head)
{
	struct http_facts *f = &x->facts;
	f->status = head->status;
	f->truncated |= head->truncated;
	f->response_header_cnt = keep_headers(n->shared, &x->arena, head, &f->response_headers, NULL);
}

void connection_keep_option(struct exchange *x, const struct sh_ev_option *o)
{
	const struct propagation_context *headers = x->remote;
	bool says = headers && headers->trace_lo;
	bool same = says && headers->trace_hi == o->span.trace_hi && headers->trace_lo == o->span.trace_lo;
	struct propagation_context *context = NULL;
	if (x->facts.server && (!says || (o->sure && same)))
		context = arena_alloc(&x->arena, sizeof(*context));
	if (!context)
		return;
	*context = headers ? *headers : (struct propagation_context){.priority = PROPAGATION_PRIORITY_NONE};
	context->trace_hi = o->span.trace_hi;
	context->trace_lo = o->span.trace_lo;
	context->span_id = o->span.span_id;
	context->last_parent = SV_NULL;
	if (!says)
		context->priority = o->priority == SH_OPTION_NO_PRIORITY ? PROPAGATION_PRIORITY_NONE : o->priority;
	x->headers = headers;
	x->remote = context;
	x->by_option = true;
}
