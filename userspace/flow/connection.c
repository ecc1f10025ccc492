/* SPDX-License-Identifier: Apache-2.0 */
#include "flow/connection.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "trace/propagation/propagation.h"
#include "spanhound/sampling.h"

/* Dialogues at rest, kept for their memory. */
#define KEEP_DIALOGUES 512

/* The ids for the request whose head is under way. */
struct pending {
	struct sh_span_context self;
	uint64_t parent_id;
	uint32_t tgid, tid;
	uint32_t number; /* of a Unix socket's requests */
	uint8_t link;
	bool root, renamed;
	bool read; /* not written: a trace was begun for it */
	struct joins_decision decision;
	bool has_option;
	struct sh_ev_option option;
};

/* Messages under way. */
struct dialogue {
	struct dialogue *next;
	struct http1 requests, responses;
	struct exchange *first, *last; /* asked, in order; the first is answered next */
	struct exchange *asking;       /* whose request is under way */
	struct exchange *answering;    /* whose response is under way */
	struct exchange *asked_here;   /* begun by the record at hand, with the kernel half's ids */
	uint32_t untold;	       /* answers to come first, to requests for which there was no exchange */
	bool has_pending;
	uint8_t early_cnt;
	char early[16]; /* first bytes, too few to tell who asks whom */
	uint64_t early_ns;
	struct pending pending;
};

enum { MOVED_READ = 1, MOVED_WRITE = 2 };

/* --- life --------------------------------------------------------------------------------------------------------- */

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
	while (s->spare) {
		struct dialogue *d = s->spare;
		s->spare = d->next;
		free(d);
	}
	hindex_release(&s->askers);
	http1_shared_release(&s->http1);
}

void connection_init(struct connection *n, struct connection_shared *shared)
{
	*n = (struct connection){.shared = shared, .next_number = 1};
}

/* NULL when out of memory. */
static struct dialogue *connection_dialogue(struct connection *n)
{
	struct connection_shared *s = n->shared;
	struct dialogue *d = n->dialogue;
	if (d)
		return d;
	d = s->spare;
	if (d) {
		s->spare = d->next;
		s->spare_cnt--;
		return n->dialogue = d;
	}
	d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	http1_init(&d->requests, &s->http1, HTTP1_REQUESTS);
	http1_init(&d->responses, &s->http1, HTTP1_RESPONSES);
	return n->dialogue = d;
}

/* Nothing is under way. Its parsers are between two messages, too: of any connection. */
static bool dialogue_is_over(const struct dialogue *d)
{
	return !d->first && !d->has_pending && !d->early_cnt && !d->responses.expected_cnt && !d->untold &&
	       http1_is_idle(&d->requests) && http1_is_idle(&d->responses);
}

static void connection_drop_dialogue(struct connection *n)
{
	struct connection_shared *s = n->shared;
	struct dialogue *d = n->dialogue;
	if (!d)
		return;
	n->dialogue = NULL;
	if (!dialogue_is_over(d) || s->spare_cnt >= KEEP_DIALOGUES) {
		http1_release(&d->requests);
		http1_release(&d->responses);
		free(d);
		return;
	}
	d->next = s->spare;
	s->spare = d;
	s->spare_cnt++;
}

/* Between two messages there is nothing to remember. */
static void connection_rest(struct connection *n)
{
	if (n->dialogue && dialogue_is_over(n->dialogue))
		connection_drop_dialogue(n);
}

void connection_release(struct connection *n)
{
	connection_unregister(n);
	connection_drop_dialogue(n);
}

/* --- exchanges under way ------------------------------------------------------------------------------------------ */

static void dialogue_queue(struct dialogue *d, struct exchange *x)
{
	x->next = NULL;
	if (d->last)
		d->last->next = x;
	else
		d->first = x;
	d->last = x;
}

/* The first one leaves. */
static struct exchange *dialogue_shift(struct dialogue *d)
{
	struct exchange *x = d->first;
	d->first = x->next;
	if (!d->first)
		d->last = NULL;
	if (d->asking == x)
		d->asking = NULL;
	if (d->answering == x)
		d->answering = NULL;
	if (d->asked_here == x)
		d->asked_here = NULL;
	d->untold += x->untold;
	return x;
}

static void connection_finish_first(struct connection *n, uint64_t end_ns, uint64_t now_ns)
{
	struct exchange *x = dialogue_shift(n->dialogue);
	x->end_ns = end_ns;
	exchanges_finish(n->shared->exchanges, x, now_ns);
}

/* What looked like a request was none of its own. If it was read, the thread went on under its ids: that belongs to the
 * exchange whose bytes they were; of a response to whatever that was asked for. */
static void connection_disown(struct connection *n, const struct pending *p)
{
	struct dialogue *d = n->dialogue;
	struct exchange *x = n->server ? d->asking : d->answering;
	uint64_t parent = !x ? 0 : n->server ? x->self.span_id : x->parent_id;
	if (p->read && parent)
		exchanges_mistaken(n->shared->exchanges, x, &p->self, parent, p->tgid);
}

static void connection_drop_pending(struct connection *n, uint64_t *counter)
{
	struct dialogue *d = n->dialogue;
	if (!d->has_pending)
		return;
	d->has_pending = false;
	++*counter;
	connection_disown(n, &d->pending);
}

void connection_torn(struct connection *n, uint64_t now_ns)
{
	struct dialogue *d = n->has_role ? connection_dialogue(n) : n->dialogue;
	if (!d)
		return;
	connection_drop_pending(n, &n->shared->stats->torn);
	while (d->first)
		exchanges_drop(n->shared->exchanges, dialogue_shift(d), now_ns);
	d->early_cnt = 0;
	d->untold = 0;
	n->moved = 0;
	http1_midstream(&d->requests);
	http1_midstream(&d->responses);
	d->responses.expected = d->responses.expected_cnt = 0;
}

void connection_unfinished(struct connection *n, uint64_t now_ns)
{
	struct dialogue *d = n->dialogue;
	if (!d)
		return;
	connection_drop_pending(n, &n->shared->stats->torn);
	while (d->first) {
		d->first->unfinished = true;
		connection_finish_first(n, now_ns, now_ns);
	}
}

/* --- requests ----------------------------------------------------------------------------------------------------- */

static void exchange_take_ids(struct exchange *x, const struct pending *p)
{
	x->self = p->self;
	x->parent_id = p->parent_id;
	x->link = p->link;
	x->root = p->root;
	x->renamed = p->renamed;
	x->tgid = p->tgid;
	x->tid = p->tid;
	x->decision = p->decision;
}

/* Pipelined: what was written at once has one cause. */
static void exchange_share_cause(struct exchange *x, const struct exchange *before)
{
	if (!before->parent_id)
		return;
	x->self.trace_hi = before->self.trace_hi;
	x->self.trace_lo = before->self.trace_lo;
	x->parent_id = before->parent_id;
	x->link = before->link;
	x->root = before->root;
}

static void connection_join(struct connection *n, struct exchange *x, uint32_t seq, uint64_t now_ns)
{
	const struct dialogue *d = n->dialogue;
	bool known = connection_has_ends(n);
	if (n->family == AF_UNIX) { /* pipelined ones have no number */
		seq = d->pending.number;
		known &= d->asked_here == x && seq;
	}
	struct join_key key = connection_ends(n, seq);
	enum exchange_writer who = n->server ? connection_writer(n, now_ns) : WRITER_STRANGE;
	exchanges_join(n->shared->exchanges, x, known ? &key : NULL, who, now_ns);
}

static void connection_identify(struct connection *n, struct exchange *x, const struct sh_ev_data *e)
{
	struct dialogue *d = n->dialogue;
	if (d->has_pending) {
		exchange_take_ids(x, &d->pending);
		d->asked_here = x;
	} else {
		x->tgid = e->tgid;
		x->tid = e->tid;
		exchanges_own_ids(n->shared->exchanges, x);
		if (!n->server && d->asked_here)
			exchange_share_cause(x, d->asked_here);
	}
	d->has_pending = false;
}

static void connection_asked(struct connection *n, const struct sh_ev_data *e, const struct http1_head *head,
			     uint32_t seq_minus_offset, uint64_t now_ns)
{
	struct dialogue *d = n->dialogue;
	struct exchange *x = exchanges_make(n->shared->exchanges, !d->has_pending);
	http1_expect(&d->responses, http1_asked_of(head->method));
	if (!x) {
		d->has_pending = false;
		++*(d->last ? &d->last->untold : &d->untold);
		return;
	}
	x->start_ns = d->requests.message.start_ns;
	bool option = d->has_pending && d->pending.has_option;
	connection_identify(n, x, e);
	connection_keep_request(n, x, head);
	if (option)
		connection_keep_option(x, &d->pending.option);
	if (!n->server && n->connect_us && !n->asked_ns)
		x->facts.connect_ns = (int64_t)n->connect_us * 1000;
	dialogue_queue(d, x);
	d->asking = x;
	connection_join(n, x, seq_minus_offset + (uint32_t)d->requests.message.start, now_ns);
	n->asked_ns = n->asked_ns ? n->asked_ns : now_ns;
}

static void connection_drain_requests(struct connection *n, const struct sh_ev_data *e, uint32_t seq_minus_offset,
				      uint64_t now_ns)
{
	struct dialogue *d = n->dialogue;
	struct connections_stats *stats = n->shared->stats;
	struct http1_head head;
	enum http1_event event;
	while ((event = http1_next(&d->requests, &head)) != HTTP1_MORE)
		switch (event) {
		case HTTP1_HEAD:
			if (e)
				connection_asked(n, e, &head, seq_minus_offset, now_ns);
			break;
		case HTTP1_END:
			if (d->asking) {
				d->asking->facts.request_sz = (int64_t)d->requests.message.body_sz;
				d->asking->request_over = true;
				d->asking = NULL;
			} else if (!d->requests.message.has_head) {
				connection_drop_pending(n, &stats->torn);
			}
			break;
		default:
			connection_drop_pending(n, &stats->not_http);
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
	struct dialogue *d = n->dialogue;
	struct exchange *x = d->first;
	if (head->interim)
		return;
	if (d->untold) {
		d->untold--;
		return;
	}
	if (!x || x->answered) {
		n->shared->stats->unasked++;
		return;
	}
	x->answered = true;
	d->answering = x;
	connection_keep_response(n, x, head);
	x->facts.first_byte_ns = (int64_t)(d->responses.message.start_ns - x->start_ns);
	if (head->framing == HTTP1_TUNNEL) {
		http1_leave(&d->requests);
		connection_finish_first(n, d->responses.message.last_ns, now_ns);
	}
}

static void connection_drain_responses(struct connection *n, uint64_t now_ns)
{
	struct dialogue *d = n->dialogue;
	struct http1_head head;
	enum http1_event event;
	while ((event = http1_next(&d->responses, &head)) != HTTP1_MORE) {
		const struct http1_message *m = &d->responses.message;
		if (event == HTTP1_HEAD) {
			connection_answered(n, &head, now_ns);
		} else if (event == HTTP1_END && d->answering && !m->interim) {
			d->answering->facts.response_sz = (int64_t)m->body_sz;
			if (m->end_kind == HTTP1_END_CUT)
				connection_failure(n, &d->answering->facts);
			connection_finish_first(n, m->last_ns, now_ns);
		}
	}
}

/* --- bytes -------------------------------------------------------------------------------------------------------- */

static bool reads_requests(const struct connection *n, const struct sh_ev_data *e)
{
	return n->server == !(e->hdr.flags & SH_DATA_WRITE);
}

/* The kernel half takes four bytes for the beginning of a message. After those of the other side it is right. */
static bool connection_begins(struct connection *n, const struct sh_ev_data *e, bool request)
{
	const struct dialogue *d = n->dialogue;
	struct sv bytes = {(const char *)(e + 1), e->copied};
	uint8_t moved = e->hdr.flags & SH_DATA_WRITE ? MOVED_WRITE : MOVED_READ;
	bool turn = n->moved != moved;
	n->moved = moved;
	if (!(e->hdr.flags & SH_DATA_START))
		return false;
	if (turn)
		return true;
	if (request)
		return http1_is_request(bytes) == PROTOCOL_SURE;
	return http1_is_response(bytes) == PROTOCOL_SURE && (d->responses.expected_cnt || http1_is_lost(&d->responses));
}

/* A message of this direction may begin: those that have no end of their own end here. */
static void connection_turn(struct connection *n, bool request, uint64_t now_ns)
{
	if (http1_resync(&n->dialogue->responses))
		connection_drain_responses(n, now_ns);
	if (request && http1_resync(&n->dialogue->requests))
		connection_drain_requests(n, NULL, 0, now_ns);
}

/* The last bytes of a piece that was not wholly copied: the last chunk may be recognised by them. */
static struct sv tail_of(const struct sh_ev_data *e, uint64_t unseen)
{
	size_t n = unseen < e->tail_len ? (size_t)unseen : e->tail_len;
	return n ? (struct sv){(const char *)e->tail + e->tail_len - n, n} : SV_NULL;
}

static void connection_feed(struct connection *n, const struct sh_ev_data *e, struct sv bytes, uint64_t unseen,
			    uint32_t seq, uint64_t time_ns, uint64_t now_ns)
{
	struct dialogue *d = n->dialogue;
	struct sv tail = tail_of(e, unseen);
	bool request = reads_requests(n, e);
	struct http1 *p = request ? &d->requests : &d->responses;
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
	struct dialogue *d = n->dialogue;
	struct sv bytes = {(const char *)(e + 1), e->copied};
	bool written = e->hdr.flags & SH_DATA_WRITE;
	if (e->hdr.flags & SH_DATA_START)
		d->early_cnt = 0;
	if (e->hdr.flags & SH_DATA_REQUEST) {
		connection_set_role(n, !written);
		return true;
	}
	struct sv all = bytes;
	if (d->early_cnt) {
		size_t room = sizeof(d->early) - d->early_cnt, take = bytes.len < room ? bytes.len : room;
		if (take)
			memcpy(d->early + d->early_cnt, bytes.data, take);
		all = (struct sv){d->early, d->early_cnt + take};
	}
	enum protocol_match response = http1_is_response(all), request = http1_is_request(all);
	if (response == PROTOCOL_SURE || request == PROTOCOL_SURE) {
		connection_set_role(n, written == (response == PROTOCOL_SURE));
		return true;
	}
	if ((response == PROTOCOL_NO && request == PROTOCOL_NO) || all.len >= sizeof(d->early)) {
		d->early_cnt = 0;
		return false;
	}
	if (!d->early_cnt) {
		d->early_ns = e->time_ns;
		if (all.len)
			memcpy(d->early, all.data, all.len);
	}
	d->early_cnt = (uint8_t)all.len;
	return false;
}

static bool in_head(const struct http1 *p)
{
	return !p->message.has_head && !http1_is_idle(p) && !http1_is_lost(p) && !http1_is_over(p);
}

static bool in_body(const struct http1 *p)
{
	return p->message.has_head && !http1_is_idle(p) && !http1_is_lost(p) && !http1_is_over(p);
}

static struct joins_decision decision_of(const struct sh_ev_data *e)
{
	struct joins_decision d = {
		.decided = e->decided != 0, .here = true, .priority = e->priority, .mechanism = e->mechanism};
	_Static_assert(sizeof(d.rate) == sizeof(e->rate), "bit by bit");
	memcpy(&d.rate, &e->rate, sizeof(d.rate));
	d.rates = (uint8_t)((e->decided & SH_BY_RULE ? RATE_RULE : 0) | (e->decided & SH_BY_AGENT ? RATE_AGENT : 0) |
			    (e->decided & SH_BY_LIMIT ? RATE_LIMIT : 0));
	return d;
}

static const void *data_option(const struct sh_ev_data *e)
{
	return (const char *)(e + 1) + ((e->copied + 7) & ~7u);
}

static void connection_take_request(struct connection *n, const struct sh_ev_data *e, bool request)
{
	struct dialogue *d = n->dialogue;
	connection_drop_pending(n, &n->shared->stats->not_http);
	d->pending = (struct pending){.self = e->self,
				      .parent_id = e->parent_id,
				      .tgid = e->tgid,
				      .tid = e->tid,
				      .number = e->seq,
				      .link = e->link,
				      .root = e->hdr.flags & SH_DATA_ROOT,
				      .renamed = e->hdr.flags & SH_DATA_RENAMED,
				      .read = !(e->hdr.flags & SH_DATA_WRITE),
				      .decision = decision_of(e)};
	if (e->hdr.flags & SH_DATA_OPTION) {
		d->pending.has_option = true;
		memcpy(&d->pending.option, data_option(e), sizeof(d->pending.option));
	}
	d->has_pending = true;
	if (!request || in_body(&d->requests)) /* within a message */
		connection_drop_pending(n, &n->shared->stats->not_http);
}

static void connection_bytes(struct connection *n, const struct sh_ev_data *e, uint64_t now_ns)
{
	struct dialogue *d = connection_dialogue(n);
	if (!d) {
		n->shared->stats->torn += (e->hdr.flags & SH_DATA_REQUEST) != 0;
		return;
	}
	if (!n->has_role && !connection_find_role(n, e))
		return;
	bool request = reads_requests(n, e);
	d->asked_here = NULL;
	if (connection_begins(n, e, request))
		connection_turn(n, request, now_ns);
	if (e->hdr.flags & SH_DATA_REQUEST)
		connection_take_request(n, e, request);
	if (d->early_cnt) {
		struct sv early = {d->early, d->early_cnt};
		d->early_cnt = 0;
		connection_feed(n, e, early, 0, e->seq - (uint32_t)early.len, d->early_ns, now_ns);
	}
	struct sv bytes = {(const char *)(e + 1), e->copied};
	connection_feed(n, e, bytes, e->len - e->copied, e->seq, e->time_ns, now_ns);
	/* The ids wait for the end of a request's head, and for nothing else. */
	if (request && !in_head(&d->requests))
		connection_drop_pending(n, &n->shared->stats->not_http);
}

/* --- ends --------------------------------------------------------------------------------------------------------- */

static void connection_eof(struct connection *n, bool written, uint64_t now_ns)
{
	if (!n->has_role || !n->dialogue)
		return;
	if (n->server == !written) {
		http1_eof(&n->dialogue->requests);
		connection_drain_requests(n, NULL, 0, now_ns);
	} else {
		http1_eof(&n->dialogue->responses);
		connection_drain_responses(n, now_ns);
	}
}

/* Nothing passes any more. */
static void connection_dead(struct connection *n, uint64_t time_ns, uint64_t now_ns)
{
	struct dialogue *d = n->dialogue;
	connection_eof(n, true, now_ns);
	connection_eof(n, false, now_ns);
	if (!d)
		return;
	connection_drop_pending(n, &n->shared->stats->torn);
	while (d->first) {
		connection_failure(n, &d->first->facts);
		connection_finish_first(n, n->error_ns ? n->error_ns : time_ns, now_ns);
	}
}

void connection_data(struct connection *n, const struct sh_ev_data *e, uint64_t now_ns)
{
	/* The end of a Unix socket may not be told: nothing follows these. */
	bool last = n->family == AF_UNIX;
	/* Before its message is read: which of its headers are wanted. */
	if (e->hdr.flags & SH_DATA_START)
		actors_get(n->shared->actors, e->tgid);
	if (e->hdr.flags & SH_DATA_LOST)
		connection_torn(n, now_ns);
	if (e->hdr.flags & SH_DATA_ERROR) {
		n->error = (int)e->len;
		n->error_ns = e->time_ns;
		if (last)
			connection_dead(n, e->time_ns, now_ns);
	} else if (e->hdr.flags & SH_DATA_END) {
		n->peer_left = true;
		connection_eof(n, false, now_ns);
		if (last && n->has_role && !n->server)
			connection_dead(n, e->time_ns, now_ns);
	} else {
		connection_bytes(n, e, now_ns);
	}
	connection_rest(n);
}

/* A connection that was never made: the span of the attempt. */
static void connection_refused(struct connection *n, const struct sh_ev_close *e, uint64_t now_ns)
{
	struct exchange *x = exchanges_make(n->shared->exchanges, true);
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
	connection_keep_addresses(n, x);
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
		connection_rest(n);
		return;
	}
	if (!n->has_role && n->connecting && e->error && n->next_number == 2)
		connection_refused(n, e, now_ns);
	else
		connection_dead(n, e->time_ns, now_ns);
}
