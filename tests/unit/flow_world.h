/* SPDX-License-Identifier: Apache-2.0 */
/* Records as the kernel half writes them, of a few processes and their connections, into a flow; and the spans that
 * come out. Include after cmocka.h. */
#ifndef FLOW_WORLD_H
#define FLOW_WORLD_H

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/vec.h"
#include "flow/flow.h"

#define WORLD_PROCESSES 4
#define TGID(i)		(1000u + (uint32_t)(i))
#define MS		NSEC_PER_MSEC

/* A finished span, copied out of its chunk. */
struct seen {
	uint64_t trace_hi, trace_lo, span_id, parent_id;
	int64_t start_ns, duration_ns;
	uint32_t tgid;
	bool error, local_root, partial;
	uint8_t decided, rates; /* of its chunk, as it left */
	int8_t priority;
	int16_t mechanism;
	double rate;
	char name[40], resource[80], status[8], link[16], url[120];
	char error_type[32], aborted[16], unfinished[8], truncated[8], thread[20];
	int64_t request_sz, response_sz, connect_ns; /* -1: not there */
};

struct world {
	struct flow *flow;
	struct chunk_pool *pool;
	struct process_info *process[WORLD_PROCESSES];
	struct flow_options options;
	VEC(struct sh_ev_hdr *) records; /* written, not delivered yet */
	VEC(struct seen) spans;
	uint64_t time_ns; /* of the next record; of the next pass */
	uint64_t next_id, next_conn;
	uint64_t requests, kernel_dropped; /* counted by the kernel half */
	uint64_t calls;
	int log; /* prints spans */
};

/* One process's end of a connection. */
struct end {
	struct world *w;
	uint64_t id;
	uint32_t tgid, tid, number;
	uint16_t family;
	uint16_t local_port, remote_port;
	uint8_t local[16], remote[16];
	uint32_t seq[2]; /* of the next byte read, written */
	uint32_t asked;	 /* of a Unix socket: number of the next request, 0: not known */
	int moved;	 /* the direction of the last bytes + 1 */
	bool lost;
	struct sh_span_context context; /* what the thread works for: parent of requests written */
	struct sh_span_context self;	/* of the last request */
};

static inline const struct tag *seen_tag(const struct span *s, const char *key)
{
	for (uint16_t i = 0; i < s->tag_cnt; i++)
		if (sv_eq(s->tags[i].key, sv_of(key)))
			return &s->tags[i];
	return NULL;
}

static inline void seen_text(char *to, size_t sz, const struct span *s, const char *key)
{
	const struct tag *t = seen_tag(s, key);
	snprintf(to, sz, SV_FMT, t ? (int)t->value.len : 0, t ? t->value.data : "");
}

static inline double seen_metric(const struct span *s, const char *key)
{
	for (uint16_t i = 0; i < s->metric_cnt; i++)
		if (sv_eq(s->metrics[i].key, sv_of(key)))
			return s->metrics[i].value;
	return -1;
}

static inline void world_see(struct world *w, const struct chunk *c, const struct span *s)
{
	struct seen o = {.trace_hi = c->trace_hi,
			 .trace_lo = c->trace_lo,
			 .span_id = s->span_id,
			 .parent_id = s->parent_id,
			 .start_ns = s->start_ns,
			 .duration_ns = s->duration_ns,
			 .tgid = c->process->pid,
			 .error = s->error,
			 .local_root = s->local_root,
			 .partial = c->partial,
			 .decided = c->decided,
			 .rates = c->rates,
			 .priority = c->priority,
			 .mechanism = c->mechanism,
			 .rate = c->rule_rate};
	snprintf(o.name, sizeof(o.name), SV_FMT, SV_ARG(s->name));
	snprintf(o.resource, sizeof(o.resource), SV_FMT, SV_ARG(s->resource));
	seen_text(o.status, sizeof(o.status), s, "http.status_code");
	seen_text(o.link, sizeof(o.link), s, "spanhound.link");
	seen_text(o.url, sizeof(o.url), s, "http.url");
	seen_text(o.error_type, sizeof(o.error_type), s, "error.type");
	seen_text(o.aborted, sizeof(o.aborted), s, "spanhound.aborted");
	seen_text(o.unfinished, sizeof(o.unfinished), s, "spanhound.unfinished");
	seen_text(o.truncated, sizeof(o.truncated), s, "spanhound.truncated");
	seen_text(o.thread, sizeof(o.thread), s, "thread.name");
	o.request_sz = seen_metric(s, "http.request.content_length");
	o.response_sz = seen_metric(s, "http.response.content_length");
	o.connect_ns = seen_metric(s, "spanhound.connect_ns");
	if (w->log)
		printf("%u %s %s %s trace %llx span %llx parent %llx link %s error %s\n", o.tgid, o.name, o.resource,
		       o.status, (unsigned long long)o.trace_lo, (unsigned long long)o.span_id,
		       (unsigned long long)o.parent_id, o.link, o.error_type);
	assert_int_equal(vec_push(&w->spans, o), 0);
}

static inline void world_sink(void *arg, struct chunk *c)
{
	struct world *w = arg;
	for (uint32_t i = 0; i < c->span_cnt; i++)
		world_see(w, c, &c->spans[i]);
	chunk_pool_put(w->pool, c);
}

static inline struct process_info *world_process(void *arg, uint32_t tgid)
{
	struct world *w = arg;
	return tgid - TGID(0) < WORLD_PROCESSES ? process_info_ref(w->process[tgid - TGID(0)]) : NULL;
}

static inline void world_process_event(void *arg, const struct sh_ev_proc *e)
{
	(void)arg, (void)e;
}

static inline const struct function_info *world_function(void *arg, uint32_t index)
{
	static const struct function_info info = {.name = {"work", 4}, .resource = {"work", 4}};
	(void)arg;
	return index == 0 ? &info : NULL;
}

/* What of the options is zero is filled in. */
static inline void world_init(struct world *w, struct flow_options options)
{
	*w = (struct world){.pool = chunk_pool_new(1000), .time_ns = NSEC_PER_SEC, .next_id = 1};
	for (int i = 0; i < WORLD_PROCESSES; i++) {
		assert_non_null(w->process[i] = process_info_new());
		w->process[i]->pid = TGID(i);
		w->process[i]->service = SV("shop");
	}
	struct assembly_options a = options.assembly;
	options.assembly = (struct assembly_options){.max_chunks = a.max_chunks ? a.max_chunks : 1000,
						     .max_spans = a.max_spans ? a.max_spans : 100000,
						     .partial_min_spans = a.partial_min_spans,
						     .max_idle_ns = 30 * NSEC_PER_SEC,
						     .sink = world_sink,
						     .sink_arg = w,
						     .pool = w->pool};
	options.actors =
		(struct actors_options){.process = world_process, .process_event = world_process_event, .arg = w};
	options.function = world_function;
	options.max_functions = 1;
	w->options = options;
	assert_non_null(w->flow = flow_new(&options));
}

static inline void world_deliver(struct world *w, size_t i)
{
	flow_record(w->flow, w->records.data[i], w->time_ns);
}

static inline void world_drop_records(struct world *w)
{
	vec_foreach (r, &w->records)
		free(*r);
	w->records.cnt = 0;
}

/* All that was written, in the order it was. */
static inline void world_play(struct world *w)
{
	for (size_t i = 0; i < w->records.cnt; i++)
		world_deliver(w, i);
	world_drop_records(w);
}

/* `ms` later. */
static inline void world_pass(struct world *w, uint64_t ms)
{
	w->time_ns += ms * MS;
	flow_pass(w->flow, w->time_ns);
}

/* Everything, and so much later that nobody waits for another end any more. */
static inline void world_run(struct world *w)
{
	world_play(w);
	world_pass(w, 1);
	world_pass(w, 60);
}

static inline uint64_t world_dropped(const struct world *w, enum sh_drop reason)
{
	uint64_t own, dropped[SH_MAX_DROPS] = {0};
	flow_account(w->flow, &own, dropped);
	return dropped[reason];
}

/* Nothing may be lost: counted + own = spans + dropped. */
static inline void world_check(struct world *w)
{
	uint64_t own, dropped[SH_MAX_DROPS] = {0}, sum = w->kernel_dropped;
	struct flow_stats s;
	flow_account(w->flow, &own, dropped);
	flow_stats(w->flow, &s);
	for (int i = 0; i < SH_MAX_DROPS; i++)
		sum += dropped[i];
	assert_int_equal(s.exchanges.open, 0);
	assert_int_equal(w->requests + own + w->calls, s.exchanges.spans + s.calls.spans + sum);
	assert_int_equal(w->spans.cnt, s.exchanges.spans + s.calls.spans);
	assert_int_equal(s.assembly.open_spans, 0);
	assert_int_equal(s.unresolved, 0);
}

static inline void world_release(struct world *w)
{
	flow_free(w->flow);
	world_drop_records(w);
	for (int i = 0; i < WORLD_PROCESSES; i++) {
		assert_int_equal(w->process[i]->refs, 1);
		process_info_unref(w->process[i]);
	}
	chunk_pool_free(w->pool);
	vec_release(&w->records);
	vec_release(&w->spans);
}

static inline void world_flush(struct world *w)
{
	world_play(w);
	w->time_ns += MS;
	flow_flush(w->flow, w->time_ns);
}

/* The end of the session, and the account. */
static inline void world_end(struct world *w)
{
	world_flush(w);
	world_check(w);
	world_release(w);
}

/* --- records ------------------------------------------------------------------------------------------------------ */

static inline void *world_write(struct world *w, size_t size, uint16_t kind)
{
	size = (size + 7) & ~(size_t)7;
	struct sh_ev_hdr *h = calloc(1, size);
	assert_non_null(h);
	*h = (struct sh_ev_hdr){.size = (uint32_t)size, .kind = kind};
	w->time_ns += 1000;
	assert_int_equal(vec_push(&w->records, h), 0);
	return h;
}

static inline struct end end_of(struct world *w, int process, uint16_t family)
{
	return (struct end){.w = w,
			    .id = ++w->next_conn,
			    .tgid = TGID(process),
			    .tid = TGID(process),
			    .family = family,
			    .seq = {1000, 2000}};
}

/* Without a record: as if it had been lost. */
static inline void ends_make(struct world *w, struct end *client, int client_process, struct end *server,
			     int server_process, const char *client_ip, const char *server_ip)
{
	uint16_t port = (uint16_t)(40000 + w->next_conn % 20000);
	bool v6 = strchr(client_ip, ':');
	*client = end_of(w, client_process, v6 ? AF_INET6 : AF_INET);
	*server = end_of(w, server_process, v6 ? AF_INET6 : AF_INET);
	inet_pton(client->family, client_ip, client->local);
	inet_pton(client->family, server_ip, client->remote);
	memcpy(server->local, client->remote, 16);
	memcpy(server->remote, client->local, 16);
	client->local_port = server->remote_port = port;
	client->remote_port = server->local_port = 8080;
	uint32_t isn = (uint32_t)(0xfffffff0 + w->next_conn); /* wraps within the first messages */
	client->seq[1] = server->seq[0] = isn;
	client->seq[0] = server->seq[1] = isn * 7;
}

static inline struct sh_ev_conn *end_tell(struct end *e)
{
	struct sh_ev_conn *c = world_write(e->w, sizeof(*c), SH_EV_CONN);
	c->conn = e->id;
	c->time_ns = e->w->time_ns;
	c->tgid = e->tgid;
	c->tid = e->tid;
	c->family = e->family;
	c->local_port = e->local_port;
	c->remote_port = e->remote_port;
	memcpy(c->local, e->local, 16);
	memcpy(c->remote, e->remote, 16);
	return c;
}

/* Both ends of a connection over loopback, told. */
static inline void ends_open(struct world *w, struct end *client, int client_process, struct end *server,
			     int server_process)
{
	ends_make(w, client, client_process, server, server_process, "127.0.0.1", "127.0.0.1");
	end_tell(client);
	end_tell(server);
}

/* The ends of a Unix socket, told; inode numbers by the connection's. */
static inline void unix_open(struct world *w, struct end *client, int client_process, struct end *server,
			     int server_process)
{
	*client = end_of(w, client_process, AF_UNIX);
	*server = end_of(w, server_process, AF_UNIX);
	memcpy(client->local, &client->id, sizeof(client->id));
	memcpy(server->local, &server->id, sizeof(server->id));
	memcpy(client->remote, server->local, 16);
	memcpy(server->remote, client->local, 16);
	client->asked = server->asked = 1;
	end_tell(client);
	end_tell(server);
}

/* A server's end, whose client is not traced and far away. */
static inline struct end server_open(struct world *w, int process)
{
	struct end client, server;
	ends_make(w, &client, 0, &server, process, "192.0.2.1", "192.0.2.80");
	end_tell(&server);
	return server;
}

static inline struct end client_open(struct world *w, int process)
{
	struct end client, server;
	ends_make(w, &client, process, &server, 0, "192.0.2.80", "192.0.2.1");
	end_tell(&client);
	return client;
}

static inline bool world_looks(const char *bytes, size_t len, const char *start)
{
	return len >= 4 && !memcmp(bytes, start, 4);
}

static inline void end_begin(struct end *e, struct sh_ev_data *d, bool write)
{
	struct world *w = e->w;
	d->hdr.flags |= SH_DATA_REQUEST;
	w->requests++;
	d->self.trace_hi = 1700000000ULL << 32;
	d->self.trace_lo = 0xa0000 + w->next_id;
	d->self.span_id = 0x50000 + w->next_id++;
	if (write && e->context.span_id) {
		d->self.trace_hi = e->context.trace_hi;
		d->self.trace_lo = e->context.trace_lo;
		d->parent_id = e->context.span_id;
		d->link = SH_LINK_THREAD;
	} else {
		d->hdr.flags |= SH_DATA_ROOT;
	}
	e->self = d->self;
}

/* One system call that moved `total` bytes, of which `copied` are in the record; as bpf/socket.bpf.c flags it. */
static inline struct sh_ev_data *end_move(struct end *e, bool write, const char *bytes, size_t copied, size_t total)
{
	struct sh_ev_data *d = world_write(e->w, sizeof(*d) + copied, SH_EV_DATA);
	bool turn = e->moved != write + 1;
	bool request = world_looks(bytes, copied, "GET ") || world_looks(bytes, copied, "POST") ||
		       world_looks(bytes, copied, "HEAD") || world_looks(bytes, copied, "CONN") ||
		       world_looks(bytes, copied, "PUT ");
	d->hdr.flags = (write ? SH_DATA_WRITE : 0) | (e->lost ? SH_DATA_LOST : 0);
	d->conn = e->id;
	d->time_ns = e->w->time_ns;
	d->tgid = e->tgid;
	d->tid = e->tid;
	d->len = (uint32_t)total;
	d->copied = (uint32_t)copied;
	d->seq = e->family != AF_UNIX ? e->seq[write] : request && e->asked ? e->asked++ : 0;
	d->number = ++e->number;
	memcpy(d + 1, bytes, copied);
	if (turn || request || world_looks(bytes, copied, "HTTP"))
		d->hdr.flags |= SH_DATA_START;
	if (request)
		end_begin(e, d, write);
	e->seq[write] += (uint32_t)total;
	e->moved = write + 1;
	e->lost = false;
	return d;
}

static inline struct sh_ev_data *end_read(struct end *e, const char *text)
{
	return end_move(e, false, text, strlen(text), strlen(text));
}

static inline struct sh_ev_data *end_write(struct end *e, const char *text)
{
	return end_move(e, true, text, strlen(text), strlen(text));
}

/* The record at hand never comes: the ring was full. */
static inline void end_lose(struct end *e)
{
	struct world *w = e->w;
	struct sh_ev_hdr *h = w->records.data[--w->records.cnt];
	w->kernel_dropped += h->kind == SH_EV_DATA && h->flags & SH_DATA_REQUEST;
	e->lost = true;
	free(h);
}

/* End of file read; error: errno of a call that failed. */
static inline void end_ended(struct end *e, bool write, uint32_t error)
{
	struct sh_ev_data *d = end_move(e, write, "", 0, 0);
	d->hdr.flags &= ~SH_DATA_START;
	d->hdr.flags |= error ? SH_DATA_ERROR : SH_DATA_END;
	d->len = error;
}

static inline void end_close(struct end *e, uint32_t state, uint32_t error)
{
	struct sh_ev_close *c = world_write(e->w, sizeof(*c), SH_EV_CLOSE);
	c->conn = e->id;
	c->time_ns = e->w->time_ns;
	c->state = state;
	c->error = error;
	c->number = ++e->number;
}

/* A call of the probed function under `parent`, at its end. */
static inline void world_call(struct world *w, int process, const struct sh_span_context *parent)
{
	struct sh_ev_call *c = world_write(w, sizeof(*c), SH_EV_CALL);
	c->tgid = c->tid = TGID(process);
	c->trace_hi = parent->trace_hi;
	c->trace_lo = parent->trace_lo;
	c->parent_id = parent->span_id;
	c->span_id = 0x90000 + w->next_id++;
	c->start_ns = c->end_ns = w->time_ns;
	w->calls++;
}

/* --- spans -------------------------------------------------------------------------------------------------------- */

static inline const struct seen *world_span(const struct world *w, uint64_t span_id)
{
	vec_foreach (s, &w->spans)
		if (s->span_id == span_id)
			return s;
	return NULL;
}

static inline const struct seen *world_get(const struct world *w, uint64_t span_id)
{
	const struct seen *s = world_span(w, span_id);
	assert_non_null(s);
	return s;
}

static inline const struct seen *world_resource(const struct world *w, const char *resource)
{
	vec_foreach (s, &w->spans)
		if (!strcmp(s->resource, resource))
			return s;
	fail_msg("no span %s", resource);
	return NULL;
}

/* The i-th that came out. */
static inline const struct seen *world_nth(const struct world *w, size_t i)
{
	assert_true(i < w->spans.cnt);
	return &w->spans.data[i];
}

#define GET "GET /a HTTP/1.1\r\nHost: shop\r\n\r\n"
#define OK  "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

#endif
