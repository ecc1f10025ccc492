/* SPDX-License-Identifier: Apache-2.0 */
#include "flow/connection.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "trace/propagation/propagation.h"

static void want_header(void *arg, struct sv name)
{
	struct connection_shared *s = arg;
	int wanted = http1_want(&s->http1.wanted, name);
	if (wanted >= 0)
		s->context_header[wanted] = (uint8_t)(propagation_header_find(name) + 1);
	else
		s->stats->headers_full++;
}

void connection_want_headers(struct connection_shared *s, const struct request_settings *settings)
{
	struct sv names[PROPAGATION_HEADER_CNT];
	unsigned cnt = propagation_header_names(&settings->propagation, names);
	for (unsigned i = 0; i < cnt; i++)
		want_header(s, names[i]);
	http_settings_headers(settings->http, want_header, s);
}

void connection_shared_release(struct connection_shared *s)
{
	http1_shared_release(&s->http1);
}

void connection_init(struct connection *n, struct connection_shared *shared)
{
	n->shared = shared;
	http1_init(&n->requests, &shared->http1, HTTP1_REQUESTS);
	http1_init(&n->responses, &shared->http1, HTTP1_RESPONSES);
}

void connection_release(struct connection *n)
{
	if (n->is_asker)
		HASH_DELETE(by_ends, n->shared->askers, n);
	n->is_asker = false;
	http1_release(&n->requests);
	http1_release(&n->responses);
}

/* --- exchanges under way ------------------------------------------------------------------------------------------ */

static void connection_queue(struct connection *n, struct exchange *x)
{
	x->next = NULL;
	if (n->last)
		n->last->next = x;
	else
		n->first = x;
	n->last = x;
}

/* The first one leaves. */
static struct exchange *connection_shift(struct connection *n)
{
	struct exchange *x = n->first;
	n->first = x->next;
	if (!n->first)
		n->last = NULL;
	if (n->asking == x)
		n->asking = NULL;
	if (n->answering == x)
		n->answering = NULL;
	return x;
}

static void connection_finish_first(struct connection *n, uint64_t end_ns, uint64_t now_ns)
{
	struct exchange *x = connection_shift(n);
	x->end_ns = end_ns;
	exchanges_finish(n->shared->exchanges, x, now_ns);
}

void connection_torn(struct connection *n)
{
	while (n->first)
		exchanges_drop(n->shared->exchanges, connection_shift(n));
	n->shared->stats->torn += n->has_pending;
	n->has_pending = false;
	n->early_cnt = 0;
	http1_midstream(&n->requests);
	http1_midstream(&n->responses);
	n->responses.expected_cnt = 0;
}

void connection_unfinished(struct connection *n, uint64_t now_ns)
{
	n->shared->stats->torn += n->has_pending;
	n->has_pending = false;
	while (n->first) {
		n->first->unfinished = true;
		connection_finish_first(n, now_ns, now_ns);
	}
}

/* --- requests ----------------------------------------------------------------------------------------------------- */

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

/* The wanted headers that came, kept. */
static uint32_t keep_headers(const struct connection *n, struct arena *a, const struct http1_head *head,
			     const struct http_header **ret)
{
	uint32_t cnt = (uint32_t)__builtin_popcountll(head->present), at = 0;
	struct http_header *list = cnt ? arena_alloc(a, cnt * sizeof(*list)) : NULL;
	for (uint32_t i = 0; list && i < HTTP1_MAX_WANTED; i++)
		if (head->present & 1ULL << i)
			list[at++] = (struct http_header){n->shared->http1.wanted.names[i], arena_dup(a, head->values[i])};
	*ret = list;
	return at;
}

static void connection_facts(const struct connection *n, struct exchange *x, const struct http1_head *head)
{
	struct http_facts *f = &x->facts;
	f->server = n->server;
	f->truncated = head->truncated;
	f->minor = head->minor;
	f->method = arena_dup(&x->arena, head->method);
	f->target = arena_dup(&x->arena, head->target);
	f->host = arena_dup(&x->arena, head->host);
	f->user_agent = arena_dup(&x->arena, head->user_agent);
	f->request_header_cnt = keep_headers(n, &x->arena, head, &f->request_headers);
	facts_address(&f->peer, n, n->remote, n->remote_port);
	facts_address(&f->local, n, n->local, n->local_port);
}

/* The trace its headers say the request belongs to. */
static void connection_extract(const struct connection *n, struct exchange *x, const struct http1_head *head)
{
	const struct connection_shared *s = n->shared;
	const struct actor *actor = actors_get(s->actors, x->tgid);
	struct propagation_headers headers = {0};
	bool any = false;
	if (!actor)
		return;
	for (uint32_t i = 0; i < s->http1.wanted.cnt; i++)
		if (head->present & 1ULL << i && s->context_header[i]) {
			headers.value[s->context_header[i] - 1] = arena_dup(&x->arena, head->values[i]);
			any = true;
		}
	struct propagation_context *context = any ? arena_alloc(&x->arena, sizeof(*context)) : NULL;
	if (context && propagation_extract(&actor_requests(actor)->propagation, &headers, &x->arena, context) > 0)
		x->remote = context;
}

static void exchange_take_ids(struct exchange *x, const struct sh_ev_data *e)
{
	x->self = e->self;
	x->parent_id = e->parent_id;
	x->link = e->link;
	x->root = e->hdr.flags & SH_DATA_ROOT;
	x->tgid = e->tgid;
	x->tid = e->tid;
}

static bool connection_is_tcp(const struct connection *n)
{
	return n->family == AF_INET || n->family == AF_INET6;
}

static void connection_set_role(struct connection *n, bool server)
{
	n->has_role = true;
	n->server = server;
	memcpy(n->ends.client, server ? n->remote : n->local, 16);
	memcpy(n->ends.server, server ? n->local : n->remote, 16);
	n->ends.client_port = server ? n->remote_port : n->local_port;
	n->ends.server_port = server ? n->local_port : n->remote_port;
	if (server || !connection_is_tcp(n))
		return;
	struct connection *other; /* one of the same ends that is gone, its end unseen; or in another network */
	HASH_FIND(by_ends, n->shared->askers, &n->ends, sizeof(n->ends), other);
	if (other)
		return;
	HASH_ADD(by_ends, n->shared->askers, ends, sizeof(n->ends), n);
	n->is_asker = true;
}

/* Of this host, or of the containers on it? */
static bool address_is_near(const uint8_t a[16])
{
	static const uint8_t loopback6[16] = {[15] = 1}, mapped[12] = {[10] = 0xff, [11] = 0xff};
	if (memcmp(a, mapped, sizeof(mapped)))
		return !memcmp(a, loopback6, 16) || (a[0] & 0xfe) == 0xfc || (a[0] == 0xfe && (a[1] & 0xc0) == 0x80);
	const uint8_t *v4 = a + 12; /* RFC 1918, 6598, 3927 */
	return v4[0] == 127 || v4[0] == 10 || (v4[0] == 172 && (v4[1] & 0xf0) == 16) || (v4[0] == 192 && v4[1] == 168) ||
	       (v4[0] == 100 && (v4[1] & 0xc0) == 64) || (v4[0] == 169 && v4[1] == 254);
}

/* May whoever wrote this request be traced, too, and just not be seen yet? */
static enum exchange_writer connection_writer(struct connection *n, uint64_t now_ns)
{
	struct connection *asker;
	HASH_FIND(by_ends, n->shared->askers, &n->ends, sizeof(n->ends), asker);
	if (asker)
		return WRITER_TRACED;
	if (!n->asked_ns)
		n->asked_ns = now_ns;
	if (now_ns - n->asked_ns > EXCHANGES_SEARCH_NS) /* it would have been seen by now */
		return WRITER_STRANGE;
	return !memcmp(n->local, n->remote, 16) || address_is_near(n->remote) ? WRITER_MAYBE : WRITER_STRANGE;
}

static void connection_join(struct connection *n, struct exchange *x, uint32_t seq, uint64_t now_ns)
{
	struct join_key key = {.client_port = n->ends.client_port, .server_port = n->ends.server_port, .seq = seq};
	memcpy(key.client, n->ends.client, 16);
	memcpy(key.server, n->ends.server, 16);
	exchanges_join(n->shared->exchanges, x, connection_is_tcp(n) ? &key : NULL, connection_writer(n, now_ns), now_ns);
}

static void connection_asked(struct connection *n, const struct sh_ev_data *e, const struct http1_head *head,
			     uint32_t seq_minus_offset, uint64_t now_ns)
{
	struct exchange *x = exchanges_make(n->shared->exchanges);
	http1_expect(&n->responses, http1_asked_of(head->method));
	if (!x) {
		n->has_pending = false;
		return;
	}
	x->start_ns = n->requests.message.start_ns;
	if (n->has_pending) {
		exchange_take_ids(x, &n->pending);
		n->has_pending = false;
	} else {
		x->tgid = e->tgid;
		x->tid = e->tid;
		exchanges_own_ids(n->shared->exchanges, x);
	}
	connection_facts(n, x, head);
	if (!n->server && n->connect_us && !n->requests.messages)
		x->facts.connect_ns = (int64_t)n->connect_us * 1000;
	if (n->server)
		connection_extract(n, x, head);
	connection_queue(n, x);
	n->asking = x;
	connection_join(n, x, seq_minus_offset + (uint32_t)n->requests.message.start, now_ns);
}

static void connection_not_http(struct connection *n)
{
	n->shared->stats->not_http += n->has_pending;
	n->has_pending = false;
}

static void connection_drain_requests(struct connection *n, const struct sh_ev_data *e, uint32_t seq_minus_offset,
				      uint64_t now_ns)
{
	struct http1_head head;
	enum http1_event event;
	while ((event = http1_next(&n->requests, &head)) != HTTP1_MORE)
		switch (event) {
		case HTTP1_HEAD:
			if (e)
				connection_asked(n, e, &head, seq_minus_offset, now_ns);
			break;
		case HTTP1_END:
			if (n->asking) {
				n->asking->facts.request_sz = (int64_t)n->requests.message.body_sz;
				n->asking->request_over = true;
				n->asking = NULL;
			} else if (!n->requests.message.has_head) {
				n->shared->stats->torn += n->has_pending;
				n->has_pending = false;
			}
			break;
		default:
			connection_not_http(n);
		}
}

/* --- responses ---------------------------------------------------------------------------------------------------- */

static void connection_failure(const struct connection *n, struct http_facts *f)
{
	if (n->server && (n->peer_left || n->error == ECONNRESET || n->error == EPIPE)) {
		f->failure = HTTP_CLIENT_LEFT;
	} else if (n->error) {
		f->failure = HTTP_ERRNO;
		f->error_number = n->error;
	} else {
		f->failure = HTTP_CLOSED;
	}
}

static void connection_answered(struct connection *n, const struct http1_head *head, uint64_t now_ns)
{
	struct exchange *x = n->first;
	if (head->interim)
		return;
	if (!x || x->answered) {
		n->shared->stats->unasked++;
		return;
	}
	struct http_facts *f = &x->facts;
	x->answered = true;
	n->answering = x;
	f->status = head->status;
	f->truncated |= head->truncated;
	f->first_byte_ns = (int64_t)(n->responses.message.start_ns - x->start_ns);
	f->response_header_cnt = keep_headers(n, &x->arena, head, &f->response_headers);
	if (head->framing == HTTP1_TUNNEL) {
		http1_leave(&n->requests);
		connection_finish_first(n, n->responses.message.last_ns, now_ns);
	}
}

static void connection_drain_responses(struct connection *n, uint64_t now_ns)
{
	struct http1_head head;
	enum http1_event event;
	while ((event = http1_next(&n->responses, &head)) != HTTP1_MORE) {
		const struct http1_message *m = &n->responses.message;
		if (event == HTTP1_HEAD) {
			connection_answered(n, &head, now_ns);
		} else if (event == HTTP1_END && n->answering && !m->interim) {
			n->answering->facts.response_sz = (int64_t)m->body_sz;
			if (m->end_kind == HTTP1_END_CUT)
				connection_failure(n, &n->answering->facts);
			connection_finish_first(n, m->last_ns, now_ns);
		}
	}
}

/* --- bytes -------------------------------------------------------------------------------------------------------- */

static bool reads_requests(const struct connection *n, const struct sh_ev_data *e)
{
	return n->server == !(e->hdr.flags & SH_DATA_WRITE);
}

/* A message of this direction may begin: those that have no end of their own end here. */
static void connection_turn(struct connection *n, bool request, uint64_t now_ns)
{
	if (http1_resync(&n->responses))
		connection_drain_responses(n, now_ns);
	if (request && http1_resync(&n->requests))
		connection_drain_requests(n, NULL, 0, now_ns);
}

/* The last bytes of a piece that was not wholly copied: the last chunk may be recognised by them. */
static struct sv tail_of(const struct sh_ev_data *e, uint64_t unseen)
{
	return unseen > e->tail_len ? (struct sv){(const char *)e->tail, e->tail_len} : SV_NULL;
}

static void connection_feed(struct connection *n, const struct sh_ev_data *e, struct sv bytes, uint64_t unseen,
			    uint32_t seq, uint64_t time_ns, uint64_t now_ns)
{
	struct sv tail = tail_of(e, unseen);
	bool request = reads_requests(n, e);
	struct http1 *p = request ? &n->requests : &n->responses;
	uint32_t seq_minus_offset = seq - (uint32_t)p->offset;

	for (int part = 0; part < 2; part++) {
		http1_feed(p, part ? tail : bytes, part ? 0 : unseen - tail.len, time_ns);
		if (request)
			connection_drain_requests(n, e, seq_minus_offset, now_ns);
		else
			connection_drain_responses(n, now_ns);
		if (!tail.len)
			break;
	}
}

/* Who asks whom? False: too few bytes to tell; they are kept. */
static bool connection_find_role(struct connection *n, const struct sh_ev_data *e)
{
	struct sv bytes = {(const char *)(e + 1), e->copied};
	bool written = e->hdr.flags & SH_DATA_WRITE;
	if (e->hdr.flags & SH_DATA_REQUEST) {
		connection_set_role(n, !written);
		return true;
	}
	size_t room = sizeof(n->early) - n->early_cnt, taken = bytes.len < room ? bytes.len : room;
	char start[sizeof(n->early)];
	memcpy(start, n->early, n->early_cnt);
	memcpy(start + n->early_cnt, bytes.data, taken);
	struct sv all = {start, n->early_cnt + taken};
	if (http1_is_response(all) == PROTOCOL_SURE || http1_is_request(all) == PROTOCOL_SURE) {
		connection_set_role(n, written == (http1_is_response(all) == PROTOCOL_SURE));
		return true;
	}
	memcpy(n->early, start, all.len);
	n->early_cnt = (uint8_t)all.len;
	n->early_ns = n->early_ns ? n->early_ns : e->time_ns;
	return false;
}

/* The bytes of a request that the kernel half took for the beginning of one were in the middle of another. */
static void connection_check_pending(struct connection *n, uint64_t now_ns)
{
	if (!n->has_pending || !n->requests.message.has_head)
		return;
	if (n->last)
		exchanges_mistaken(n->shared->exchanges, n->last, &n->pending.self, now_ns);
	connection_not_http(n);
}

static void connection_bytes(struct connection *n, const struct sh_ev_data *e, uint64_t now_ns)
{
	if (!n->has_role) {
		if (e->hdr.flags & SH_DATA_START)
			n->early_cnt = 0; /* they were of another message */
		if (!connection_find_role(n, e))
			return;
	}
	bool request = reads_requests(n, e);
	if (e->hdr.flags & SH_DATA_START)
		connection_turn(n, request, now_ns);
	if (request && e->hdr.flags & SH_DATA_REQUEST) {
		connection_not_http(n);
		n->pending = *e;
		n->has_pending = true;
	} else if (e->hdr.flags & SH_DATA_REQUEST) { /* who answers does not ask */
		n->shared->stats->not_http++;
	}
	if (n->early_cnt) {
		struct sv early = {n->early, n->early_cnt};
		n->early_cnt = 0;
		connection_feed(n, e, early, 0, e->seq - (uint32_t)early.len, n->early_ns, now_ns);
	}
	struct sv bytes = {(const char *)(e + 1), e->copied};
	connection_feed(n, e, bytes, e->len - e->copied, e->seq, e->time_ns, now_ns);
	if (request)
		connection_check_pending(n, now_ns);
}

static void connection_eof(struct connection *n, bool written, uint64_t now_ns)
{
	if (!n->has_role)
		return;
	if (n->server == !written) {
		http1_eof(&n->requests);
		connection_drain_requests(n, NULL, 0, now_ns);
	} else {
		http1_eof(&n->responses);
		connection_drain_responses(n, now_ns);
	}
}

void connection_data(struct connection *n, const struct sh_ev_data *e, uint64_t now_ns)
{
	/* Before its message is read: which of its headers are wanted. */
	if (e->hdr.flags & SH_DATA_START)
		actors_get(n->shared->actors, e->tgid);
	if (e->hdr.flags & SH_DATA_LOST)
		connection_torn(n);
	if (e->hdr.flags & SH_DATA_ERROR) {
		n->error = (int)e->len;
		n->error_ns = e->time_ns;
	} else if (e->hdr.flags & SH_DATA_END) {
		n->peer_left = true;
		connection_eof(n, false, now_ns);
	} else {
		connection_bytes(n, e, now_ns);
	}
}

/* A connection that was never made: the span of the attempt. */
static void connection_refused(struct connection *n, const struct sh_ev_close *e, uint64_t now_ns)
{
	struct exchange *x = exchanges_make(n->shared->exchanges);
	if (!x)
		return;
	x->start_ns = n->told_ns - (uint64_t)n->connect_us * 1000;
	x->tgid = n->tgid;
	x->tid = n->tid;
	exchanges_own_ids(n->shared->exchanges, x);
	if (n->connect_parent.span_id) {
		x->self.trace_hi = n->connect_parent.trace_hi;
		x->self.trace_lo = n->connect_parent.trace_lo;
		x->parent_id = n->connect_parent.span_id;
		x->link = SH_LINK_THREAD;
		x->root = false;
	}
	x->connect_only = true;
	x->facts.failure = HTTP_ERRNO;
	x->facts.error_number = (int)e->error;
	facts_address(&x->facts.peer, n, n->remote, n->remote_port);
	facts_address(&x->facts.local, n, n->local, n->local_port);
	x->end_ns = e->time_ns;
	exchanges_finish(n->shared->exchanges, x, now_ns);
}

void connection_end(struct connection *n, const struct sh_ev_close *e, uint64_t now_ns)
{
	if (e->error && !n->error) {
		n->error = (int)e->error;
		n->error_ns = e->time_ns;
	}
	n->peer_left |= e->state == SH_CONN_SHUT_LAST;
	if (e->state != SH_CONN_CLOSED) {
		connection_eof(n, true, now_ns);
		return;
	}
	if (!n->has_role && n->connecting && e->error && n->next_number == 2) {
		connection_refused(n, e, now_ns);
		return;
	}
	connection_eof(n, true, now_ns);
	connection_eof(n, false, now_ns);
	n->shared->stats->torn += n->has_pending;
	n->has_pending = false;
	while (n->first) {
		connection_failure(n, &n->first->facts);
		connection_finish_first(n, n->error_ns ? n->error_ns : e->time_ns, now_ns);
	}
}
