/* SPDX-License-Identifier: Apache-2.0 */
/* One connection at a time: its records to spans. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include "flow_world.h"

static const struct flow_options plain;

static struct connections_stats stats_of(const struct world *w)
{
	struct flow_stats s;
	flow_stats(w->flow, &s);
	return s.connections;
}

static void close_both(struct end *e)
{
	end_close(e, SH_CONN_SHUT, 0);
	end_close(e, SH_CONN_CLOSED, 0);
}

static void server_and_client(void **state)
{
	(void)state;
	struct world w;
	world_init(&w, plain);
	struct end s = server_open(&w, 0), c = client_open(&w, 1);
	for (int i = 0; i < 3; i++) {
		uint64_t start =
			end_read(&s, "POST /a?x=1 HTTP/1.1\r\nHost: shop\r\nContent-Length: 3\r\n\r\nabc")->time_ns;
		uint64_t end = end_write(&s, OK)->time_ns;
		world_run(&w);
		const struct seen *o = world_get(&w, s.self.span_id);
		assert_string_equal(o->name, "http.server.request");
		assert_string_equal(o->resource, "POST /a");
		assert_string_equal(o->status, "200");
		assert_string_equal(o->url, "http://shop/a?x=1");
		assert_int_equal(o->start_ns, start);
		assert_int_equal(o->duration_ns, end - start);
		assert_int_equal(o->request_sz, 3);
		assert_int_equal(o->response_sz, 2);
		assert_int_equal(o->trace_lo, s.self.trace_lo);
		assert_int_equal(o->parent_id, 0);
		assert_true(o->local_root);
		assert_int_equal(o->tgid, TGID(0));
		assert_int_equal(o->connect_ns, -1);
	}
	c.context = (struct sh_span_context){1, 2, 3};
	end_write(&c, GET);
	end_read(&c, OK);
	close_both(&s);
	close_both(&c);
	world_flush(&w);
	const struct seen *o = world_get(&w, c.self.span_id);
	assert_string_equal(o->name, "http.client.request");
	assert_string_equal(o->link, "thread");
	assert_int_equal(o->trace_lo, 2);
	assert_int_equal(o->parent_id, 3);
	assert_false(o->local_root);
	assert_int_equal(stats_of(&w).open, 0);
	world_end(&w);
}

/* A response that comes in pieces of any kind ends where it ends. */
static void how_responses_end(void **state)
{
	static const struct {
		const char *request, *response[4];
		int size;
	} cases[] = {
		{GET, {"HTTP/1.1 204 No Content\r\n\r\n"}, 0},
		{GET, {"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n"}, 0},
		{"HEAD / HTTP/1.1\r\n\r\n", {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"}, 0},
		{GET, {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", "HTTP/1.1 2", NULL}, 10},
		{GET, {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "3\r\nabc\r\n", "0\r\n", "\r\n"}, 3},
		{GET, {"HTTP/1.1 103 Early\r\nLink: a\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n", OK}, 2},
		{GET, {"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"}, 0},
		{GET, {"H", "TT", "P/1.1 200 OK\r\nContent-Length: 1\r\n", "\r\nx"}, 1},
	};
	(void)state;
	struct world w;
	world_init(&w, plain);
	struct end s = server_open(&w, 0), c = client_open(&w, 1);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t end = 0;
		end_read(&s, cases[i].request);
		end_write(&c, cases[i].request);
		for (int k = 0; k < 4 && cases[i].response[k]; k++) {
			world_run(&w);
			assert_null(world_span(&w, s.self.span_id));
			assert_null(world_span(&w, c.self.span_id));
			end = end_write(&s, cases[i].response[k])->time_ns;
			end_read(&c, cases[i].response[k]);
		}
		world_run(&w);
		const struct seen *o = world_get(&w, s.self.span_id);
		assert_int_equal(o->start_ns + o->duration_ns, end);
		assert_int_equal(o->response_sz, cases[i].size);
		o = world_get(&w, c.self.span_id);
		assert_int_equal(o->response_sz, cases[i].size);
	}
	assert_int_equal(w.spans.cnt, w.requests);
	world_end(&w);
}

/* Bodies of which only the head's piece was copied. */
static void bodies_counted_not_copied(void **state)
{
	(void)state;
	struct world w;
	world_init(&w, plain);
	struct end s = server_open(&w, 0);
	static const char big[] = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";
	end_read(&s, GET);
	end_move(&s, true, big, sizeof(big) - 1, 400000 + sizeof(big) - 1);
	end_move(&s, true, "", 0, 600000)->hdr.flags |= SH_DATA_UNSEEN;
	world_run(&w);
	assert_int_equal(world_get(&w, s.self.span_id)->response_sz, 1000000);

	/* Chunked: the last chunk is known by the last bytes of a piece. */
	static const char chunked[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
	end_read(&s, GET);
	end_move(&s, true, chunked, sizeof(chunked) - 1, sizeof(chunked) - 1);
	struct sh_ev_data *d = end_move(&s, true, "", 0, 5000);
	memcpy(d->tail, "garbage!", 8);
	d->tail_len = 8;
	world_run(&w);
	assert_null(world_span(&w, s.self.span_id));
	/* Neither these four bytes nor those make a new message of it. */
	static const char http[] = "HTTP/1.1 200 is what the page is about", get[] = "GET / HTTP/1.1\r\n";
	end_move(&s, true, http, sizeof(http) - 1, 500);
	end_move(&s, true, get, sizeof(get) - 1, 500)->hdr.flags &= (uint16_t)~SH_DATA_REQUEST;
	w.requests--;
	d = end_move(&s, true, "", 0, 5000);
	memcpy(d->tail, "d\r\n0\r\n\r\n", 8);
	d->tail_len = 8;
	uint64_t span = s.self.span_id - 1;
	world_run(&w);
	assert_non_null(world_span(&w, span));

	/* Fewer bytes were not copied than there are last ones: some are among both. */
	end_read(&s, GET);
	end_move(&s, true, chunked, sizeof(chunked) - 1, sizeof(chunked) - 1);
	d = end_move(&s, true, "5\r\nhello\r\n0", 11, 15);
	memcpy(d->tail, "o\r\n0\r\n\r\n", 8);
	d->tail_len = 8;
	span = s.self.span_id;
	world_run(&w);
	assert_int_equal(world_get(&w, span)->response_sz, 5);

	/* An upload whose body is passed over. */
	static const char put[] = "PUT /a HTTP/1.1\r\nContent-Length: 9999\r\n\r\n";
	end_move(&s, false, put, sizeof(put) - 1, sizeof(put) - 1);
	end_move(&s, false, "", 0, 9999);
	end_write(&s, OK);
	world_run(&w);
	assert_int_equal(world_get(&w, s.self.span_id)->request_sz, 9999);
	assert_int_equal(stats_of(&w).not_http, 0);
	world_end(&w);
}

static void until_close(void **state)
{
	(void)state;
	for (int how = 0; how < 4; how++) {
		struct world w;
		world_init(&w, plain);
		struct end s = server_open(&w, 0), c = client_open(&w, 0);
		struct end *e = how < 2 ? &s : &c;
		end_move(e, e == &c, GET, sizeof(GET) - 1, sizeof(GET) - 1);
		uint64_t last = end_move(e, e == &s, "HTTP/1.0 200 OK\r\n\r\nbody", 23, 23)->time_ns;
		world_run(&w);
		assert_int_equal(w.spans.cnt, 0);
		if (how == 0 || how == 1)
			end_close(e, how ? SH_CONN_CLOSED : SH_CONN_SHUT, 0);
		else if (how == 2)
			end_ended(e, false, 0);
		else
			end_close(e, SH_CONN_CLOSED, 0);
		world_run(&w);
		const struct seen *o = world_nth(&w, 0);
		assert_int_equal(o->response_sz, 4);
		assert_int_equal(o->start_ns + o->duration_ns, last);
		assert_false(o->error);
		assert_string_equal(o->aborted, "");
		world_end(&w);
	}
}

static void pipelined(void **state)
{
	(void)state;
	struct world w;
	world_init(&w, plain);
	struct end s = server_open(&w, 0), c = client_open(&w, 1);
	/* Three in one read, the third in two parts, a fourth on its own. */
	end_read(&s, "GET /a HTTP/1.1\r\n\r\nHEAD /b HTTP/1.1\r\n\r\nGET /c HTTP/1.1\r\nHo");
	uint64_t first = s.self.span_id;
	end_read(&s, "st: x\r\n\r\n");
	end_read(&s, "GET /d HTTP/1.1\r\n\r\n");
	uint64_t fourth = s.self.span_id;
	end_write(&s, "HTTP/1.1 201 C\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 202 OK\r\nContent-Length: 5\r\n\r\n"
		      "HTTP/1.1 203 OK\r\nContent-Length: 0\r\n\r\n");
	end_write(&s, "HTTP/1.1 204 OK\r\n\r\n");
	world_run(&w);
	assert_int_equal(w.spans.cnt, 4);
	static const char *const resources[] = {"GET /a", "HEAD /b", "GET /c", "GET /d"};
	for (unsigned i = 0; i < 4; i++) {
		char status[8];
		snprintf(status, sizeof(status), "20%u", i + 1);
		assert_string_equal(world_resource(&w, resources[i])->status, status);
	}
	assert_int_equal(world_resource(&w, "GET /a")->span_id, first);
	assert_int_equal(world_resource(&w, "GET /d")->span_id, fourth);
	assert_int_not_equal(world_resource(&w, "HEAD /b")->trace_lo, world_resource(&w, "GET /c")->trace_lo);
	/* What is written at once has one cause. */
	c.context = (struct sh_span_context){1, 77, 78};
	end_write(&c, "GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n");
	end_read(&c, OK);
	end_read(&c, OK);
	world_flush(&w);
	for (unsigned i = 4; i < 6; i++) {
		assert_int_equal(world_nth(&w, i)->trace_lo, 77);
		assert_int_equal(world_nth(&w, i)->parent_id, 78);
		assert_string_equal(world_nth(&w, i)->link, "thread");
	}
	world_end(&w);
}

static void expect_continue(void **state)
{
	(void)state;
	struct world w;
	world_init(&w, plain);
	struct end s = server_open(&w, 0);
	for (int accepted = 0; accepted < 2; accepted++) {
		end_read(&s, "POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 8\r\n\r\n");
		uint64_t span = s.self.span_id;
		if (accepted) {
			end_write(&s, "HTTP/1.1 100 Continue\r\n\r\n");
			/* The body looks like a request; to the kernel half, too. */
			end_read(&s, "GET / HT");
			world_run(&w);
			assert_int_equal(stats_of(&w).not_http, 1);
		}
		end_write(&s, accepted ? OK : "HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n");
		world_run(&w);
		assert_string_equal(world_get(&w, span)->status, accepted ? "200" : "417");
		assert_int_equal(world_get(&w, span)->request_sz, accepted ? 8 : -1);
		close_both(&s);
		s = server_open(&w, 0);
	}
	world_end(&w);
}

static void tunnels(void **state)
{
	(void)state;
	static const char *const asks[] = {"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
					   "CONNECT db:5432 HTTP/1.1\r\n\r\n"};
	static const char *const answers[] = {"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n\x81\x02hi",
					      "HTTP/1.1 200 Connection established\r\n\r\n"};
	for (int i = 0; i < 2; i++) {
		struct world w;
		world_init(&w, plain);
		struct end s = server_open(&w, 0);
		end_read(&s, asks[i]);
		uint64_t end = end_write(&s, answers[i])->time_ns;
		world_run(&w);
		const struct seen *o = world_nth(&w, 0);
		assert_string_equal(o->status, i ? "200" : "101");
		assert_int_equal(o->start_ns + o->duration_ns, end);
		assert_string_equal(o->resource, i ? "CONNECT" : "GET /ws");
		/* What is in the tunnel is nobody's request here. */
		end_read(&s, GET);
		end_write(&s, OK);
		world_run(&w);
		assert_int_equal(stats_of(&w).not_http, 1);
		close_both(&s);
		world_run(&w);
		assert_int_equal(w.spans.cnt, 1);
		assert_int_equal(stats_of(&w).open, 0);
		world_end(&w);
	}
	/* Refused: HTTP goes on. */
	struct world w;
	world_init(&w, plain);
	struct end s = server_open(&w, 0);
	end_read(&s, asks[1]);
	end_write(&s, "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n");
	end_read(&s, GET);
	end_write(&s, OK);
	world_run(&w);
	assert_int_equal(w.spans.cnt, 2);
	world_end(&w);
}

/* How a connection fails while a request waits, or its response is under way; server's side and client's. */
static void failures(void **state)
{
	static const struct {
		bool server, begun, end_read;
		uint32_t data_error, close_error;
		bool error;
		const char *type, *aborted;
	} cases[] = {
		{true, false, true, 0, 0, false, "", "client"},
		{true, false, false, EPIPE, EPIPE, false, "", "client"},
		{true, true, false, ECONNRESET, ECONNRESET, false, "", "client"},
		{true, true, false, 0, ECONNRESET, false, "", "client"},
		{true, true, false, 0, 0, true, "ConnectionClosed", ""},
		{true, false, false, 0, 0, true, "ConnectionClosed", ""},
		{false, false, true, 0, 0, true, "ConnectionClosed", ""},
		{false, false, false, ECONNRESET, ECONNRESET, true, "ECONNRESET", ""},
		{false, true, false, 0, ECONNRESET, true, "ECONNRESET", ""},
		{false, true, true, 0, 0, true, "ConnectionClosed", ""},
		{false, false, false, 0, ETIMEDOUT, true, "ETIMEDOUT", ""},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct world w;
		world_init(&w, plain);
		struct end e = cases[i].server ? server_open(&w, 0) : client_open(&w, 0);
		static const char part[] = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nxyz";
		end_move(&e, !cases[i].server, GET, sizeof(GET) - 1, sizeof(GET) - 1);
		if (cases[i].begun)
			end_move(&e, cases[i].server, part, sizeof(part) - 1, sizeof(part) - 1);
		if (cases[i].end_read)
			end_ended(&e, false, 0);
		if (cases[i].data_error)
			end_ended(&e, false, cases[i].data_error);
		end_close(&e, SH_CONN_CLOSED, cases[i].close_error);
		world_run(&w);
		const struct seen *o = world_nth(&w, 0);
		assert_int_equal(o->error, cases[i].error);
		assert_string_equal(o->error_type, cases[i].type);
		assert_string_equal(o->aborted, cases[i].aborted);
		assert_string_equal(o->status, cases[i].begun ? "200" : "");
		assert_int_equal(stats_of(&w).open, 0);
		world_end(&w);
	}
}

static void half_closed(void **state)
{
	(void)state;
	struct world w;
	world_init(&w, plain);
	struct end s = server_open(&w, 0);
	end_read(&s, GET);
	end_ended(&s, false, 0); /* shutdown(SHUT_WR) of a client that still reads */
	end_write(&s, OK);
	world_run(&w);
	assert_string_equal(world_nth(&w, 0)->status, "200");
	assert_string_equal(world_nth(&w, 0)->aborted, "");
	world_end(&w);
}

static void early_response(void **state)
{
	(void)state;
	struct world w;
	world_init(&w, plain);
	struct end s = server_open(&w, 0);
	end_read(&s, "POST /a HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345");
	end_write(&s, "HTTP/1.1 413 Too large\r\nContent-Length: 0\r\n\r\n");
	end_read(&s, "67890");
	end_read(&s, GET);
	end_write(&s, OK);
	world_run(&w);
	assert_int_equal(w.spans.cnt, 2);
	assert_string_equal(world_resource(&w, "POST /a")->status, "413");
	assert_string_equal(world_resource(&w, "GET /a")->status, "200");
	world_end(&w);
}

static void refused(void **state)
{
	(void)state;
	for (int caused = 0; caused < 2; caused++) {
		struct world w;
		world_init(&w, plain);
		struct end client, server;
		ends_make(&w, &client, 0, &server, 0, "127.0.0.1", "127.0.0.1");
		struct sh_ev_conn *c = end_tell(&client);
		c->hdr.flags = SH_CONN_CONNECT;
		c->connect_us = 40;
		if (caused)
			c->parent = (struct sh_span_context){1, 2, 3};
		uint64_t told = c->time_ns;
		end_close(&client, SH_CONN_CLOSED, ECONNREFUSED);
		world_flush(&w);
		const struct seen *o = world_nth(&w, 0);
		assert_string_equal(o->name, "tcp.connect");
		assert_string_equal(o->error_type, "ECONNREFUSED");
		assert_true(o->error);
		assert_int_equal(o->start_ns, told - 40000);
		assert_int_equal(o->parent_id, caused ? 3 : 0);
		assert_int_equal(o->local_root, !caused);
		if (caused)
			assert_int_equal(o->trace_lo, 2);
		assert_int_equal(stats_of(&w).open, 0);
		world_end(&w);
	}
}

static void connect_time_of_the_first(void **state)
{
	(void)state;
	struct world w;
	world_init(&w, plain);
	struct end client, server;
	ends_make(&w, &client, 0, &server, 0, "127.0.0.1", "127.0.0.1");
	struct sh_ev_conn *c = end_tell(&client);
	c->hdr.flags = SH_CONN_CONNECT;
	c->connect_us = 40;
	for (int i = 0; i < 2; i++) {
		end_write(&client, GET);
		end_read(&client, OK);
		world_run(&w);
		assert_int_equal(world_nth(&w, (size_t)i)->connect_ns, i ? -1 : 40000);
	}
	world_end(&w);
}

static void attached_in_the_middle(void **state)
{
	(void)state;
	struct world w;
	world_init(&w, plain);
	/* The answer to what was asked before; then all is well. */
	struct end s = server_open(&w, 0), c = client_open(&w, 1);
	end_write(&s, OK);
	end_read(&c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"); /* to a HEAD, perhaps */
	world_run(&w);
	assert_int_equal(stats_of(&w).unasked, 2);
	end_read(&s, GET);
	end_write(&s, OK);
	end_write(&c, GET);
	end_read(&c, OK);
	world_run(&w);
	assert_int_equal(w.spans.cnt, 2);
	assert_string_equal(world_get(&w, s.self.span_id)->name, "http.server.request");
	assert_string_equal(world_get(&w, c.self.span_id)->name, "http.client.request");
	world_end(&w);
}

static void byte_by_byte(void **state)
{
	(void)state;
	static const char get[] = GET, ok[] = OK;
	struct world w;
	world_init(&w, plain);
	for (int known = 0; known < 2; known++) {
		struct end s = server_open(&w, 0);
		uint64_t start = 0;
		for (int round = 0; round <= known; round++) {
			for (const char *at = get; *at; at++) {
				struct sh_ev_data *d = end_move(&s, false, at, 1, 1);
				start = at == get ? d->time_ns : start;
				if (at == get + 3)
					end_begin(&s, d, false);
			}
			for (const char *at = ok; *at; at++)
				end_move(&s, true, at, 1, 1);
		}
		world_run(&w);
		assert_int_equal(w.spans.cnt, w.requests);
		const struct seen *o = world_get(&w, s.self.span_id);
		assert_string_equal(o->resource, "GET /a");
		assert_int_equal(o->response_sz, 2);
		assert_int_equal(o->start_ns, start);
		assert_int_equal(o->duration_ns, 1000 * (strlen(GET) + strlen(OK) - 1));
	}
	world_end(&w);
}

/* All orders within a pass: the same spans. */
static void out_of_order(void **state)
{
	(void)state;
	struct world w;
	world_init(&w, plain);
	for (unsigned order = 0; order < 720; order++) {
		struct end s = server_open(&w, 0);
		end_read(&s, "GET /1 HTTP/1.1\r\nHos");
		end_read(&s, "t: shop\r\n\r\n");
		uint64_t first = s.self.span_id;
		end_write(&s, OK);
		end_read(&s, GET);
		end_write(&s, OK);
		end_close(&s, SH_CONN_CLOSED, 0);
		bool given[6] = {0};
		world_deliver(&w, 0);
		for (unsigned left = 6, code = order; left; code /= left--) {
			unsigned pick = code % left, i = 0;
			while (given[i] || pick--)
				i++;
			given[i] = true;
			world_deliver(&w, 1 + i);
		}
		world_drop_records(&w);
		world_pass(&w, 1);
		world_pass(&w, 60);
		assert_int_equal(w.spans.cnt, 2);
		assert_non_null(world_span(&w, first));
		assert_non_null(world_span(&w, s.self.span_id));
		assert_int_equal(stats_of(&w).open, 0);
		assert_int_equal(stats_of(&w).lost, 0);
		w.spans.cnt = 0;
		w.requests -= 2;
	}
	assert_true(stats_of(&w).reordered > 0);
	w.requests = 2 * 720;
	w.spans.cnt = 2 * 720; /* they were looked at */
	world_flush(&w);
	struct flow_stats s;
	flow_stats(w.flow, &s);
	assert_int_equal(s.exchanges.spans, w.requests);
	world_release(&w);
}

/* Any one record is lost: said by the next one's flag, or only by the gap. What is whole is a span, the rest is
 * counted. */
static void one_lost(void **state)
{
	(void)state;
	for (int lost = 0; lost < 9; lost++)
		for (int told = 0; told < 2; told++) {
			struct world w;
			world_init(&w, plain);
			struct end s = server_open(&w, 0);
			for (int i = 0; i < 3; i++) {
				end_read(&s, "HEAD /1 HTTP/1.1\r\nHos");
				if (lost == 3 * i)
					end_lose(&s);
				end_read(&s, "t: shop\r\n\r\n");
				if (lost == 3 * i + 1)
					end_lose(&s);
				end_write(&s, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
				if (lost == 3 * i + 2)
					end_lose(&s);
				s.lost &= told;
				world_play(&w);
			}
			end_close(&s, SH_CONN_CLOSED, 0);
			world_run(&w);
			assert_int_equal(w.spans.cnt, 2);
			vec_foreach (o, &w.spans) {
				assert_string_equal(o->status, "200");
				assert_string_equal(o->resource, "HEAD /?");
			}
			assert_int_equal(stats_of(&w).open, 0);
			world_end(&w);
		}
}

/* The first record of a connection told its ends: without it spans are as good, but for the addresses. */
static void told_late_or_never(void **state)
{
	(void)state;
	struct world w;
	world_init(&w, plain);
	struct end client, server;
	ends_make(&w, &client, 0, &server, 1, "127.0.0.1", "127.0.0.1");
	end_write(&client, GET);
	end_read(&client, OK);
	world_run(&w);
	assert_int_equal(w.spans.cnt, 1);
	/* From here on its ends are known: what it writes is joined with what is read. */
	end_tell(&client);
	end_tell(&server);
	server.seq[0] = client.seq[1];
	for (int i = 0; i < 2; i++) {
		end_read(&server, GET);
		end_write(&client, GET);
		end_write(&server, OK);
		end_read(&client, OK);
		world_run(&w);
		assert_int_equal(world_get(&w, server.self.span_id)->parent_id, client.self.span_id);
	}
	end_tell(&client); /* twice does no harm */
	close_both(&client);
	close_both(&server);
	world_end(&w);
}

static void unknown_and_damaged(void **state)
{
	(void)state;
	struct world w;
	world_init(&w, plain);
	struct end s = server_open(&w, 0);
	/* The end of one that was never seen, and one from its middle. */
	end_close(&s, SH_CONN_CLOSED, 0);
	w.records.cnt--;
	free(w.records.data[w.records.cnt]);
	struct end other = server_open(&w, 0);
	other.number = 41;
	end_read(&other, GET);
	end_write(&other, OK);
	world_run(&w);
	assert_int_equal(world_nth(&w, 0)->span_id, other.self.span_id);
	assert_int_equal(stats_of(&w).lost, 41);
	/* Twice the same number; sizes that do not fit; an unknown process. */
	s.number = 0;
	end_read(&s, GET);
	s.number = 0;
	end_read(&s, GET);
	end_read(&s, GET)->copied = 5000;
	end_read(&s, GET)->tail_len = 9;
	end_read(&s, GET)->hdr.size = 24;
	end_close(&s, SH_CONN_SHUT, 0);
	w.records.data[w.records.cnt - 1]->size = 16;
	struct end stranger = server_open(&w, 0);
	stranger.tgid = 7;
	end_read(&stranger, GET);
	end_write(&stranger, OK);
	world_run(&w);
	assert_int_equal(stats_of(&w).malformed, 5);
	assert_int_equal(world_dropped(&w, SH_DROP_malformed), 1);
	assert_int_equal(world_dropped(&w, SH_DROP_exchange_torn), 4);
	world_end(&w);
}

/* Bytes that the kernel half takes for a request, in the body of one; the thread goes on under the wrong ids. */
static void fake_in_a_request(void **state)
{
	(void)state;
	struct world w;
	world_init(&w, plain);
	struct end s = server_open(&w, 0), c = client_open(&w, 0);
	end_read(&s, "POST /a HTTP/1.1\r\nContent-Length: 60\r\n\r\n");
	struct sh_span_context real = s.self;
	world_call(&w, 0, &real);
	end_read(&s, "GET /evil HTTP/1.1\r\n\r\n23456789");
	struct sh_span_context fake = s.self;
	world_call(&w, 0, &fake);
	c.context = fake;
	end_write(&c, GET);
	end_read(&c, OK);
	end_read(&s, "POST /evil HTTP/1.1\r\n\r\n3456789");
	world_call(&w, 0, &s.self);
	end_write(&s, OK);
	world_run(&w);
	assert_int_equal(world_dropped(&w, SH_DROP_not_http), 2);
	assert_int_equal(w.spans.cnt, 5);
	vec_foreach (o, &w.spans) {
		assert_int_equal(o->trace_lo, real.trace_lo);
		assert_int_equal(o->parent_id, o->span_id == real.span_id ? 0 : real.span_id);
	}
	world_end(&w);
}

/* In a response that a client reads: what follows is done for whom it asked. */
static void fake_in_a_response(void **state)
{
	(void)state;
	struct world w;
	world_init(&w, plain);
	struct end s = server_open(&w, 0), c = client_open(&w, 0);
	end_read(&s, GET);
	c.context = s.self;
	end_write(&c, GET);
	uint64_t asked = c.self.span_id;
	end_read(&c, "HTTP/1.1 200 OK\r\nContent-Length: 25\r\n\r\n");
	end_read(&c, "GET /evil HTTP/1.1\r\n\r\nabc");
	struct sh_span_context fake = c.self;
	world_call(&w, 0, &fake);
	end_write(&s, OK);
	world_run(&w);
	assert_int_equal(world_dropped(&w, SH_DROP_not_http), 1);
	assert_int_equal(w.spans.cnt, 3);
	assert_string_equal(world_get(&w, asked)->status, "200");
	vec_foreach (o, &w.spans) {
		assert_int_equal(o->trace_lo, s.self.trace_lo);
		assert_int_equal(o->parent_id, o->span_id == s.self.span_id ? 0 : s.self.span_id);
	}
	world_end(&w);
}

static void not_http_at_all(void **state)
{
	(void)state;
	struct world w;
	world_init(&w, plain);
	struct end s = server_open(&w, 0);
	end_read(&s, "GET a key please\r\n");
	end_write(&s, "VALUE a\r\n");
	end_read(&s, "GET a key please\r\n");
	world_run(&w);
	assert_int_equal(w.spans.cnt, 0);
	assert_int_equal(world_dropped(&w, SH_DROP_not_http), 2);
	end_read(&s, GET);
	end_write(&s, OK);
	world_run(&w);
	assert_int_equal(w.spans.cnt, 1);
	world_end(&w);
}

static void cut_off_by_the_end(void **state)
{
	(void)state;
	struct world w;
	world_init(&w, plain);
	struct end head = server_open(&w, 0), body = server_open(&w, 0), answer = server_open(&w, 0);
	end_read(&head, "GET / HTTP/1.1\r\nHo");
	end_read(&body, "POST /a HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345");
	end_read(&answer, GET);
	end_write(&answer, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
	world_flush(&w);
	assert_int_equal(world_dropped(&w, SH_DROP_exchange_torn), 1);
	assert_int_equal(w.spans.cnt, 2);
	vec_foreach (o, &w.spans)
		assert_string_equal(o->unfinished, "true");
	assert_string_equal(world_get(&w, answer.self.span_id)->status, "200");
	world_check(&w);
	world_release(&w);
}

static void head_longer_than_is_copied(void **state)
{
	(void)state;
	struct world w;
	world_init(&w, plain);
	struct end s = server_open(&w, 0);
	static const char head[] = "GET /long HTTP/1.1\r\nHost: shop\r\nX: aaaaaaaa";
	for (int i = 0; i < 2; i++) {
		end_move(&s, false, head, sizeof(head) - 1, 3000);
		end_write(&s, OK);
	}
	world_run(&w);
	assert_int_equal(w.spans.cnt, 2);
	assert_string_equal(world_nth(&w, 1)->truncated, "true");
	assert_string_equal(world_nth(&w, 1)->url, "http://shop/long");
	world_end(&w);
}

/* Unix sockets have no addresses, and their end is not told. */
static void unix_sockets(void **state)
{
	(void)state;
	struct world w;
	world_init(&w, plain);
	struct end s = end_of(&w, 0, AF_UNIX), c = end_of(&w, 1, AF_UNIX);
	end_tell(&s);
	end_tell(&c);
	for (int i = 0; i < 2; i++) {
		end_write(&c, GET);
		end_read(&s, GET);
		end_write(&s, OK);
		end_read(&c, OK);
	}
	world_run(&w);
	assert_int_equal(w.spans.cnt, 4);
	assert_string_equal(world_nth(&w, 0)->url, "http://shop/a");
	end_write(&c, GET);
	end_read(&s, GET);
	end_ended(&c, false, 0);
	end_ended(&s, true, EPIPE);
	world_run(&w);
	assert_int_equal(w.spans.cnt, 6);
	assert_string_equal(world_get(&w, c.self.span_id)->error_type, "ConnectionClosed");
	assert_string_equal(world_get(&w, s.self.span_id)->aborted, "client");
	world_end(&w);
}

static void unix_joined(const struct world *w, uint64_t client_span, uint64_t server_span, bool joined)
{
	const struct seen *c = world_get(w, client_span), *s = world_get(w, server_span);
	assert_int_equal(s->parent_id, joined ? c->span_id : 0);
	assert_int_equal(s->trace_lo == c->trace_lo, joined);
	assert_string_equal(s->link, joined ? "peer" : "");
}

/* Either end may come first; requests have the kernel half's numbers, and not all of them have one. */
static void unix_sockets_joined(void **state)
{
	(void)state;
	struct world w;
	struct end c, s, other_c, other_s;
	world_init(&w, plain);
	unix_open(&w, &c, 1, &s, 0);
	unix_open(&w, &other_c, 1, &other_s, 0);
	for (int i = 0; i < 6; i++) {
		uint64_t asked[2], served[2];
		bool known = i != 3;
		c.asked = known ? (uint32_t)i + 1 : 0;
		for (int k = 0; k < 2; k++) {
			bool write = (i & 1) == k;
			end_move(write ? &c : &s, write, GET, sizeof(GET) - 1, sizeof(GET) - 1);
			end_move(write ? &other_c : &other_s, write, GET, sizeof(GET) - 1, sizeof(GET) - 1);
		}
		asked[0] = c.self.span_id, served[0] = s.self.span_id;
		asked[1] = other_c.self.span_id, served[1] = other_s.self.span_id;
		end_write(&s, OK);
		end_write(&other_s, OK);
		end_read(&c, OK);
		end_read(&other_c, OK);
		world_run(&w);
		world_pass(&w, 2000);
		unix_joined(&w, asked[0], served[0], known);
		unix_joined(&w, asked[1], served[1], true);
	}
	world_end(&w);
}

/* Two written at once have one number, which is the first one's. */
static void unix_pipelined(void **state)
{
	(void)state;
	struct world w;
	struct end c, s;
	world_init(&w, plain);
	unix_open(&w, &c, 1, &s, 0);
	end_write(&c, GET "GET /b HTTP/1.1\r\nHost: shop\r\n\r\n");
	end_read(&s, GET);
	uint64_t first = s.self.span_id;
	s.asked = 0;
	end_read(&s, "GET /b HTTP/1.1\r\nHost: shop\r\n\r\n");
	end_write(&s, OK OK);
	end_read(&c, OK OK);
	world_run(&w);
	world_pass(&w, 2000);
	assert_int_equal(w.spans.cnt, 4);
	unix_joined(&w, c.self.span_id, first, true);
	assert_int_equal(world_get(&w, s.self.span_id)->parent_id, 0);
	world_end(&w);
}

/* The other end's inode number is not known: it is not told from others. */
static void unix_without_ends(void **state)
{
	(void)state;
	struct world w;
	world_init(&w, plain);
	struct end c = end_of(&w, 1, AF_UNIX), s = end_of(&w, 0, AF_UNIX);
	c.asked = s.asked = 1;
	end_tell(&c);
	end_tell(&s);
	end_write(&c, GET);
	end_read(&s, GET);
	end_write(&s, OK);
	end_read(&c, OK);
	world_run(&w);
	unix_joined(&w, c.self.span_id, s.self.span_id, false);
	world_end(&w);
}

static void more_than_the_table_holds(void **state)
{
	(void)state;
	struct world w;
	world_init(&w, (struct flow_options){.max_connections = 2});
	struct end a = server_open(&w, 0), b = server_open(&w, 0), c = server_open(&w, 0);
	end_read(&a, GET);
	end_read(&b, GET);
	end_read(&c, GET);
	end_write(&c, OK);
	end_close(&c, SH_CONN_CLOSED, 0);
	end_write(&a, OK);
	end_write(&b, OK);
	world_run(&w);
	assert_int_equal(w.spans.cnt, 2);
	assert_int_equal(stats_of(&w).refused, 1);
	assert_int_equal(world_dropped(&w, SH_DROP_exchange_limit), 1);
	/* Long after, the silent ones give way. */
	end_read(&a, GET);
	world_run(&w);
	w.time_ns += 61 * NSEC_PER_SEC;
	end_write(&b, OK);
	world_play(&w);
	c = server_open(&w, 0);
	end_read(&c, GET);
	end_write(&c, OK);
	world_run(&w);
	assert_int_equal(stats_of(&w).evicted, 1);
	assert_int_equal(world_dropped(&w, SH_DROP_exchange_torn), 1);
	assert_non_null(world_span(&w, c.self.span_id));
	/* It speaks again. */
	close_both(&c);
	end_read(&a, GET);
	end_write(&a, OK);
	world_run(&w);
	assert_non_null(world_span(&w, a.self.span_id));
	assert_int_equal(stats_of(&w).lost, 0);
	world_end(&w);
}

/* Addresses of both families; a server that listens on both sees its IPv4 clients as IPv6. */
static void addresses(void **state)
{
	static const struct {
		const char *client, *server, *url;
	} cases[] = {
		{"192.0.2.1", "192.0.2.80", "http://192.0.2.80:8080/a"},
		{"2001:db8::1", "2001:db8::2", "http://[2001:db8::2]:8080/a"},
		{"::ffff:192.0.2.1", "::ffff:192.0.2.80", "http://192.0.2.80:8080/a"},
	};
	(void)state;
	struct world w;
	world_init(&w, plain);
	for (size_t i = 0; i < 3; i++) {
		struct end c, s;
		ends_make(&w, &c, 0, &s, 0, cases[i].client, cases[i].server);
		end_tell(&s);
		end_read(&s, "GET /a HTTP/1.0\r\n\r\n");
		end_write(&s, OK);
		world_run(&w);
		assert_string_equal(world_nth(&w, i)->url, cases[i].url);
	}
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(server_and_client),
		cmocka_unit_test(how_responses_end),
		cmocka_unit_test(bodies_counted_not_copied),
		cmocka_unit_test(until_close),
		cmocka_unit_test(pipelined),
		cmocka_unit_test(expect_continue),
		cmocka_unit_test(tunnels),
		cmocka_unit_test(failures),
		cmocka_unit_test(half_closed),
		cmocka_unit_test(early_response),
		cmocka_unit_test(refused),
		cmocka_unit_test(connect_time_of_the_first),
		cmocka_unit_test(attached_in_the_middle),
		cmocka_unit_test(byte_by_byte),
		cmocka_unit_test(out_of_order),
		cmocka_unit_test(one_lost),
		cmocka_unit_test(told_late_or_never),
		cmocka_unit_test(unknown_and_damaged),
		cmocka_unit_test(fake_in_a_request),
		cmocka_unit_test(fake_in_a_response),
		cmocka_unit_test(not_http_at_all),
		cmocka_unit_test(cut_off_by_the_end),
		cmocka_unit_test(head_longer_than_is_copied),
		cmocka_unit_test(unix_sockets),
		cmocka_unit_test(unix_sockets_joined),
		cmocka_unit_test(unix_pipelined),
		cmocka_unit_test(unix_without_ends),
		cmocka_unit_test(more_than_the_table_holds),
		cmocka_unit_test(addresses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
