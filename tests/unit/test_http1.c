/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "http1_replay.h"

#define HEAD_MAX 512

static struct http1_shared shared;

/* --- streams and what they mean ----------------------------------------------------------------------------------- */

struct stream {
	const char *name;
	const char *bytes;
	const char *events;
	const char *
		asked; /* of a response stream: a letter for each request, o other, h HEAD, c CONNECT; NULL: requests */
};

static const struct stream streams[] = {
	{"request", "GET /index.html?a=1#f HTTP/1.1\r\nHost: example.com\r\nUser-Agent: curl/8\r\nAccept: */*\r\n\r\n",
	 "GET /index.html?a=1#f 1.1 none host=example.com ua=curl/8\n  0-86 head 86 body 0 exact\nidle, 86 bytes, 0 "
	 "lost\n",
	 NULL},
	{"request with a body", "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
	 "POST /p 1.1 length=5 host=h\n  0-53 head 48 body 5 exact\nidle, 53 bytes, 0 lost\n", NULL},
	{"pipelined", "GET /1 HTTP/1.1\r\n\r\nPOST /2 HTTP/1.1\r\nContent-Length: 2\r\n\r\nxxGET /3 HTTP/1.1\r\n\r\n",
	 "GET /1 1.1 none\n  0-19 head 19 body 0 exact\nPOST /2 1.1 length=2\n  19-60 head 39 body 2 exact\n"
	 "GET /3 1.1 none\n  60-79 head 19 body 0 exact\nidle, 79 bytes, 0 lost\n",
	 NULL},
	{"expect", "PUT /f HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-Continue\r\n\r\nabc",
	 "PUT /f 1.1 length=3 expect\n  0-63 head 60 body 3 exact\nidle, 63 bytes, 0 lost\n", NULL},
	{"HTTP/1.0", "GET / HTTP/1.0\r\n\r\nGET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
	 "GET / 1.0 none closing\n  0-18 head 18 body 0 exact\nGET / 1.0 none\n  18-60 head 42 body 0 exact\n"
	 "idle, 60 bytes, 0 lost\n",
	 NULL},
	{"connection: close", "GET / HTTP/1.1\r\nConnection: foo, CLOSE\r\n\r\n",
	 "GET / 1.1 none closing\n  0-42 head 42 body 0 exact\nidle, 42 bytes, 0 lost\n", NULL},
	{"chunked",
	 "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n00a;x=\"y\"\r\n0123456789\r\n0\r\n\r\n",
	 "POST / 1.1 chunked\n  0-85 head 47 body 15 exact\nidle, 85 bytes, 0 lost\n", NULL},
	{"trailer",
	 "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1\r\nx\r\n0\r\nDigest: a\r\nB: c\r\n\r\nGET / "
	 "HTTP/1.1\r\n\r\n",
	 "POST / 1.1 chunked\n  0-81 head 53 body 1 exact\nGET / 1.1 none\n  81-99 head 18 body 0 exact\n"
	 "idle, 99 bytes, 0 lost\n",
	 NULL},
	{"absolute form", "GET http://h:8/x HTTP/1.1\r\nHost: other\r\n\r\n",
	 "GET http://h:8/x 1.1 none host=other\n  0-42 head 42 body 0 exact\nidle, 42 bytes, 0 lost\n", NULL},
	{"options", "OPTIONS * HTTP/1.1\r\n\r\n",
	 "OPTIONS * 1.1 none\n  0-22 head 22 body 0 exact\nidle, 22 bytes, 0 lost\n", NULL},
	{"connect refused, then more", "CONNECT h:443 HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n",
	 "CONNECT h:443 1.1 none\n  0-26 head 26 body 0 exact\nGET / 1.1 none\n  26-44 head 18 body 0 exact\n"
	 "idle, 44 bytes, 0 lost\n",
	 NULL},
	{"wanted",
	 "GET / HTTP/1.1\r\ntraceparent: 00-a-b-01\r\nX-B3-TraceId:1\r\ntracestate: a=1\r\ntracestate: b=2\r\nxtra: "
	 "1\r\n\r\n",
	 "GET / 1.1 none traceparent=00-a-b-01 tracestate=a=1+ x-b3-traceid=1\n  0-101 head 101 body 0 exact\n"
	 "idle, 101 bytes, 0 lost\n",
	 NULL},
	{"empty values", "GET / HTTP/1.1\r\nHost:\r\nUser-Agent: \t \r\n\r\n",
	 "GET / 1.1 none host= ua=\n  0-41 head 41 body 0 exact\nidle, 41 bytes, 0 lost\n", NULL},
	{"upgrade asked for", "GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
	 "GET /ws 1.1 none upgrade=websocket\n  0-61 head 61 body 0 exact\nidle, 61 bytes, 0 lost\n", NULL},
	/* what RFC 9112 has to say about oddities */
	{"empty lines before", "\r\n\nGET / HTTP/1.1\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n",
	 "GET / 1.1 none\n  3-21 head 18 body 0 exact\nGET / 1.1 none\n  23-41 head 18 body 0 exact\n"
	 "idle, 41 bytes, 5 lost\n",
	 NULL},
	{"bare line feeds", "POST / HTTP/1.1\nContent-Length: 2\n\nxx",
	 "POST / 1.1 length=2\n  0-37 head 35 body 2 exact\nidle, 37 bytes, 0 lost\n", NULL},
	{"bare line feeds, chunked", "POST / HTTP/1.1\nTransfer-Encoding: chunked\n\n2\nxx\n0\n\n",
	 "POST / 1.1 chunked\n  0-52 head 44 body 2 exact\nidle, 52 bytes, 0 lost\n", NULL},
	{"folded", "POST / HTTP/1.1\r\nHost: a\r\n b\r\nContent-Length:\r\n\t 3\r\n\r\nabc",
	 "POST / 1.1 length=3 host=a\r\n b\n  0-57 head 54 body 3 exact\nidle, 57 bytes, 0 lost\n", NULL},
	{"folded into nothing", "GET / HTTP/1.1\r\n Host: a\r\nHost: b\r\n\r\n",
	 "GET / 1.1 none host=b faulty\n  0-37 head 37 body 0 exact\nidle, 37 bytes, 0 lost\n", NULL},
	{"both lengths",
	 "POST / HTTP/1.1\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
	 "POST / 1.1 chunked=99 faulty\n  0-78 head 67 body 1 exact\nidle, 78 bytes, 0 lost\n", NULL},
	{"one length twice", "POST / HTTP/1.1\r\nContent-Length: 2, 2\r\nContent-Length: 2\r\n\r\nxx",
	 "POST / 1.1 length=2\n  0-62 head 60 body 2 exact\nidle, 62 bytes, 0 lost\n", NULL},
	{"two lengths", "POST / HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nxxx",
	 "POST / 1.1 turn faulty\ninside, 60 bytes, 0 lost\n", NULL},
	{"no length", "POST / HTTP/1.1\r\nContent-Length: +2\r\n\r\nxx",
	 "POST / 1.1 turn faulty\ninside, 41 bytes, 0 lost\n", NULL},
	{"a length too long", "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
	 "POST / 1.1 turn faulty\ninside, 57 bytes, 0 lost\n", NULL},
	{"chunked not last", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\nxx",
	 "POST / 1.1 turn faulty\ninside, 55 bytes, 0 lost\n", NULL},
	{"blank before the colon", "POST / HTTP/1.1\r\nContent-Length : 2\r\n\r\nxx",
	 "POST / 1.1 turn=2 faulty\ninside, 41 bytes, 0 lost\n", NULL},
	{"a line without a colon", "GET / HTTP/1.1\r\nrubbish\r\n: x\r\nHost: h\r\n\r\n",
	 "GET / 1.1 none host=h faulty\n  0-41 head 41 body 0 exact\nidle, 41 bytes, 0 lost\n", NULL},
	{"two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
	 "GET / 1.1 none host=a faulty\n  0-36 head 36 body 0 exact\nidle, 36 bytes, 0 lost\n", NULL},
	{"blanks in the target", "GET /a b  HTTP/1.1\r\n\r\n",
	 "GET /a b 1.1 none faulty\n  0-22 head 22 body 0 exact\nidle, 22 bytes, 0 lost\n", NULL},
	{"bad chunk size", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
	 "POST / 1.1 chunked\ninside, 52 bytes, 0 lost\n", NULL},
	{"chunk size too long", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx",
	 "POST / 1.1 chunked\ninside, 67 bytes, 0 lost\n", NULL},
	{"chunk without its break", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n",
	 "POST / 1.1 chunked\ninside, 59 bytes, 0 lost\n", NULL},
	{"not http", "EHLO mail\r\n", "not http\nlost, 11 bytes, 11 lost\n", NULL},
	{"tls", "\x16\x03\x01\x02\x01", "not http\nlost, 5 bytes, 5 lost\n", NULL},
	{"redis", "*1\r\n$4\r\nPING\r\n", "not http\nlost, 14 bytes, 14 lost\n", NULL},
	{"HTTP/0.9", "GET /\r\n", "not http\nlost, 7 bytes, 7 lost\n", NULL},
	{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "not http\nlost, 24 bytes, 24 lost\n", NULL},
	{"http, then not", "GET / HTTP/1.1\r\n\r\n{garbage}",
	 "GET / 1.1 none\n  0-18 head 18 body 0 exact\nnot http\nlost, 27 bytes, 9 lost\n", NULL},
	{"a beginning", "GET / HT", "inside, 8 bytes, 0 lost\n", NULL},

	{"response", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: x\r\n\r\nhello",
	 "200 1.1 length=5\n  0-54 head 49 body 5 exact\nidle, 54 bytes, 0 lost\n", "o"},
	{"response in a body",
	 "HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\nHTTP/1.1 200 OK\r\n\r\nHTTP/1.1 404 Not "
	 "Found\r\nContent-Length: 0\r\n\r\n",
	 "200 1.1 length=19\n  0-58 head 39 body 19 exact\n404 1.1 none=0\n  58-103 head 45 body 0 exact\n"
	 "idle, 103 bytes, 0 lost\n",
	 "oo"},
	{"continue",
	 "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 201 "
	 "Created\r\nContent-Length: 1\r\n\r\nx",
	 "100 1.1 none interim\n  0-25 head 25 body 0 exact\n103 1.1 none interim\n  25-62 head 37 body 0 exact\n"
	 "201 1.1 length=1\n  62-106 head 43 body 1 exact\nidle, 106 bytes, 0 lost\n",
	 "o"},
	{"no content",
	 "HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\nHTTP/1.1 304 Not Modified\r\nTransfer-Encoding: "
	 "chunked\r\n\r\n",
	 "204 1.1 none=9\n  0-46 head 46 body 0 exact\n304 1.1 none\n  46-103 head 57 body 0 exact\nidle, 103 bytes, 0 "
	 "lost\n",
	 "oo"},
	{"to HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
	 "200 1.1 none=1000\n  0-41 head 41 body 0 exact\n200 1.1 length=1\n  41-80 head 38 body 1 exact\n"
	 "idle, 80 bytes, 0 lost\n",
	 "ho"},
	{"to nothing", "HTTP/1.1 408 Request Timeout\r\nContent-Length: 1\r\n\r\nx",
	 "408 1.1 length=1 unasked\n  0-52 head 51 body 1 exact\nidle, 52 bytes, 0 lost\n", ""},
	{"until close", "HTTP/1.0 200 OK\r\n\r\nsome\r\n\r\nbytes", "200 1.0 close closing\ninside, 32 bytes, 0 lost\n",
	 "o"},
	{"gzip until close", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nbytes",
	 "200 1.1 close closing\ninside, 49 bytes, 0 lost\n", "o"},
	{"identity", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 1\r\n\r\nx",
	 "200 1.1 length=1\n  0-68 head 67 body 1 exact\nidle, 68 bytes, 0 lost\n", "o"},
	{"chunked response",
	 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n13\r\nHTTP/1.1 200 OK\r\n\r\n\r\n0\r\n\r\nHTTP/1.1 500 "
	 "\r\nContent-Length: 0\r\n\r\n",
	 "200 1.1 chunked\n  0-77 head 47 body 19 exact\n500 1.1 none=0\n  77-113 head 36 body 0 exact\n"
	 "idle, 113 bytes, 0 lost\n",
	 "oo"},
	{"websocket", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x02hiHTTP/1.1 200 OK\r\n\r\n",
	 "101 1.1 tunnel upgrade=websocket\n  0-56 head 56 body 0 exact\nover, 79 bytes, 23 lost\n", "o"},
	{"tunnel", "HTTP/1.1 200 Connection established\r\nContent-Length: 3\r\n\r\n\x16\x03\x01",
	 "200 1.1 tunnel=3\n  0-58 head 58 body 0 exact\nover, 61 bytes, 3 lost\n", "c"},
	{"tunnel refused", "HTTP/1.1 407 No\r\nContent-Length: 3\r\n\r\nxyz",
	 "407 1.1 length=3\n  0-41 head 38 body 3 exact\nidle, 41 bytes, 0 lost\n", "c"},
	{"no reason", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
	 "200 1.1 none=0\n  0-35 head 35 body 0 exact\nidle, 35 bytes, 0 lost\n", "o"},
	{"blank before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nxx",
	 "200 1.1 length=2 faulty\n  0-41 head 39 body 2 exact\nidle, 41 bytes, 0 lost\n", "o"},
	{"a code too long", "HTTP/1.1 2000 OK\r\n\r\n", "not http\nlost, 20 bytes, 20 lost\n", "o"},
	{"icy", "ICY 200 OK\r\n\r\n", "not http\nlost, 14 bytes, 14 lost\n", "o"},
};
#define STREAM_CNT (sizeof(streams) / sizeof(streams[0]))

static void start(struct http1 *p, const struct stream *s)
{
	http1_init(p, &shared, s->asked ? HTTP1_RESPONSES : HTTP1_REQUESTS);
	for (const char *a = s->asked; a && *a; a++)
		http1_expect(p, *a == 'h' ? HTTP1_ASKED_HEAD : *a == 'c' ? HTTP1_ASKED_CONNECT : HTTP1_ASKED_OTHER);
}

static struct sv part(struct sv s, size_t from, size_t to)
{
	return (struct sv){s.data + from, to - from};
}

/* In pieces that end at these offsets (ascending, the last is the end). */
static void replay_at(const struct stream *s, const size_t *ends, size_t cnt, struct sbuf *out)
{
	struct sv bytes = sv_of(s->bytes);
	struct http1 p;
	size_t from = 0;
	sbuf_reset(out);
	start(&p, s);
	for (size_t i = 0; i < cnt; i++) {
		replay_piece(&p, part(bytes, from, ends[i]), 0, out);
		from = ends[i];
	}
	replay_state(&p, out);
	http1_release(&p);
	assert_int_equal(shared.split_cnt, 0);
}

static void same(const struct stream *s, const struct sbuf *got, const char *want)
{
	if (strcmp(sbuf_str(got), want) != 0)
		fail_msg("%s:\n%s--- expected\n%s", s->name, sbuf_str(got), want);
}

static void meaning(void **state)
{
	struct sbuf out = {0};
	(void)state;
	for (const struct stream *s = streams; s < streams + STREAM_CNT; s++) {
		size_t all = strlen(s->bytes);
		replay_at(s, &all, 1, &out);
		same(s, &out, s->events);
	}
	sbuf_release(&out);
}

static void every_split(void **state)
{
	struct sbuf out = {0};
	(void)state;
	for (const struct stream *s = streams; s < streams + STREAM_CNT; s++) {
		size_t n = strlen(s->bytes);
		for (size_t a = 0; a <= n; a++) {
			for (size_t b = a; b <= n; b++) {
				replay_at(s, (size_t[]){a, b, n}, 3, &out);
				same(s, &out, s->events);
			}
		}
	}
	sbuf_release(&out);
}

static void small_pieces(void **state)
{
	struct sbuf out = {0};
	size_t ends[512];
	(void)state;
	for (const struct stream *s = streams; s < streams + STREAM_CNT; s++) {
		size_t n = strlen(s->bytes);
		for (size_t step = 1; step < 32; step++) {
			size_t cnt = 0;
			for (size_t at = step; at < n; at += step)
				ends[cnt++] = at;
			ends[cnt++] = n;
			replay_at(s, ends, cnt, &out);
			same(s, &out, s->events);
		}
	}
	sbuf_release(&out);
}

/* Two connections of one thread share what they keep half heads in. */
static void interleaved(void **state)
{
	struct sbuf out[2] = {0};
	uint32_t seed = 1;
	(void)state;
	for (size_t i = 0; i + 1 < STREAM_CNT; i++) {
		for (int round = 0; round < 50; round++) {
			struct http1 p[2];
			size_t at[2] = {0};
			for (int k = 0; k < 2; k++) {
				start(&p[k], &streams[i + (size_t)k]);
				sbuf_reset(&out[k]);
			}
			for (;;) {
				int k = (seed = seed * 1664525 + 1013904223) >> 31;
				size_t n = strlen(streams[i + (size_t)k].bytes), step = 1 + (seed >> 8) % 20;
				size_t to = at[k] + step < n ? at[k] + step : n;
				replay_piece(&p[k], part(sv_of(streams[i + (size_t)k].bytes), at[k], to), 0, &out[k]);
				at[k] = to;
				if (at[0] == strlen(streams[i].bytes) && at[1] == strlen(streams[i + 1].bytes))
					break;
			}
			for (int k = 0; k < 2; k++) {
				replay_state(&p[k], &out[k]);
				same(&streams[i + (size_t)k], &out[k], streams[i + (size_t)k].events);
				http1_release(&p[k]);
			}
		}
	}
	assert_int_equal(shared.split_cnt, 0);
	sbuf_release(&out[0]);
	sbuf_release(&out[1]);
}

/* --- bytes that were not copied ----------------------------------------------------------------------------------- */

/* The first `seen` bytes, cut in two at `split`, the rest unseen. */
static void replay_cut(const struct stream *s, size_t split, size_t seen, struct sbuf *out)
{
	struct sv bytes = sv_of(s->bytes);
	struct http1 p;
	sbuf_reset(out);
	start(&p, s);
	replay_piece(&p, part(bytes, 0, split), 0, out);
	replay_piece(&p, part(bytes, split, seen), bytes.len - seen, out);
	replay_state(&p, out);
	assert_int_equal(p.offset, bytes.len);
	http1_release(&p);
	assert_int_equal(shared.split_cnt, 0);
}

static size_t first_line(const char *text)
{
	const char *nl = strstr(text, "\n  ");
	return nl ? (size_t)(nl - text) : strlen(text);
}

static void unseen_tail(void **state)
{
	struct sbuf whole = {0}, out = {0}, split = {0};
	(void)state;
	for (const struct stream *s = streams; s < streams + STREAM_CNT; s++) {
		size_t n = strlen(s->bytes);
		const char *blank = strstr(s->bytes + strspn(s->bytes, "\r\n"), "\r\n\r\n");
		size_t head = blank ? (size_t)(blank - s->bytes) + 4 : n;
		replay_at(s, &n, 1, &whole);
		for (size_t seen = 0; seen <= n; seen++) {
			replay_cut(s, 0, seen, &out);
			for (size_t at = 0; at <= seen; at++) {
				replay_cut(s, at, seen, &split);
				same(s, &split, sbuf_str(&out));
			}
			/* A head that was seen whole is the same head. */
			if (blank && seen >= head && strncmp(sbuf_str(&whole), "not", 3) != 0)
				assert_memory_equal(sbuf_str(&out), sbuf_str(&whole), first_line(sbuf_str(&whole)));
		}
	}
	sbuf_release(&whole);
	sbuf_release(&out);
	sbuf_release(&split);
}

static void feed(struct http1 *p, const char *bytes, uint64_t unseen, struct sbuf *out)
{
	replay_piece(p, sv_of(bytes), unseen, out);
}

static void expect_text(struct sbuf *out, const char *want)
{
	assert_string_equal(sbuf_str(out), want);
	sbuf_reset(out);
}

static void body_is_counted(void **state)
{
	struct http1 p;
	struct sbuf out = {0};
	(void)state;
	http1_init(&p, &shared, HTTP1_RESPONSES);
	http1_expect(&p, HTTP1_ASKED_OTHER);
	feed(&p, "HTTP/1.1 200 OK\r\nContent-Length: 5000000000\r\n\r\nabc", 4000, &out);
	expect_text(&out, "200 1.1 length=5000000000\n");
	feed(&p, "", 4999995996, &out);
	assert_int_equal(p.message.body_sz, 4999999999);
	expect_text(&out, "");
	feed(&p, "", 1, &out);
	expect_text(&out, "  0-5000000047 head 47 body 5000000000 exact\n");
	http1_release(&p);
	sbuf_release(&out);
}

/* What a body of known length does not reach is a message that begins unseen. */
static void unseen_message(void **state)
{
	struct http1 p;
	struct sbuf out = {0};
	(void)state;
	http1_init(&p, &shared, HTTP1_REQUESTS);
	feed(&p, "POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc", 30, &out);
	expect_text(&out, "POST / 1.1 length=10\n  0-49 head 39 body 10 exact\nunseen\n");
	assert_true(http1_is_lost(&p));
	feed(&p, "GET /3 HTTP/1.1\r\n\r\n", 0, &out);
	expect_text(&out, "");
	assert_int_equal(p.lost, 23 + 19);
	assert_true(http1_resync(&p));
	feed(&p, "GET /4 HTTP/1.1\r\n\r\n", 0, &out);
	expect_text(&out, "GET /4 1.1 none\n  91-110 head 19 body 0 exact\n");
	assert_false(http1_resync(&p));
	http1_release(&p);
	sbuf_release(&out);
}

static void cut_heads(void **state)
{
	struct http1 p;
	struct sbuf out = {0};
	(void)state;
	http1_init(&p, &shared, HTTP1_REQUESTS);
	/* Fields before the cut are right, the one that is cut is absent, the end is not known. */
	feed(&p, "GET /a HTTP/1.1\r\nHost: example.com\r\nUser-Agent: Moz", 500, &out);
	expect_text(&out, "GET /a 1.1 turn host=example.com truncated\n");
	assert_true(http1_resync(&p));
	feed(&p, "GET /very/long/target?that=is", 500, &out);
	expect_text(&out, "  0-551 head 51 body 500 turn\nGET /very/long/target?that=is turn truncated\n");
	assert_true(http1_resync(&p));
	feed(&p, "DELETE /a HTT", 2, &out);
	expect_text(&out, "  551-1080 head 29 body 500 turn\nDELETE /a turn truncated\n");
	assert_true(http1_resync(&p));
	feed(&p, "NOSUCH /a", 2, &out);
	expect_text(&out, "  1080-1095 head 13 body 2 turn\nnot http\n");
	http1_release(&p);

	http1_init(&p, &shared, HTTP1_RESPONSES);
	http1_expect(&p, HTTP1_ASKED_OTHER);
	feed(&p, "HTTP/1.1 204 No Content\r\nSet-Cookie: a", 900, &out);
	expect_text(&out, "204 1.1 turn truncated\n");
	http1_eof(&p);
	replay_events(&p, &out);
	expect_text(&out, "  0-938 head 38 body 900 close\n");
	http1_release(&p);
	sbuf_release(&out);
}

/* The limit counts, however the bytes arrive. */
static void long_heads(void **state)
{
	struct http1 p;
	struct sbuf out = {0}, head = {0};
	(void)state;
	sbuf_adds(&head, "GET / HTTP/1.1\r\nHost: h\r\nCookie: ");
	while (head.len < HEAD_MAX - 4)
		sbuf_addc(&head, 'c');
	for (int longer = 0; longer < 2; longer++) {
		for (size_t step = 1; step < 1000; step += 37) {
			struct sbuf all = {0};
			sbuf_addsv(&all, sbuf_sv(&head));
			sbuf_adds(&all, longer ? "c\r\n\r\n" : "\r\n\r\n");
			http1_init(&p, &shared, HTTP1_REQUESTS);
			for (size_t at = 0; at < all.len; at += step)
				replay_piece(&p, part(sbuf_sv(&all), at, at + step < all.len ? at + step : all.len), 0,
					     &out);
			expect_text(&out, longer ? "GET / 1.1 turn host=h truncated\n"
						 : "GET / 1.1 none host=h\n  0-512 head 512 body 0 exact\n");
			http1_release(&p);
			sbuf_release(&all);
		}
	}
	sbuf_release(&head);
	sbuf_release(&out);
}

#define CHUNKED "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

static void chunks_unseen(void **state)
{
	struct http1 p;
	struct sbuf out = {0};
	(void)state;
	http1_init(&p, &shared, HTTP1_RESPONSES);
	for (int i = 0; i < 9; i++)
		http1_expect(&p, HTTP1_ASKED_OTHER);
	/* The unseen bytes end with the chunk: nothing is lost. */
	feed(&p, CHUNKED "a\r\nabc", 7, &out);
	feed(&p, "\r\n0\r\n\r\n", 0, &out);
	expect_text(&out, "200 1.1 chunked\n  0-67 head 47 body 10 exact\n");
	/* ... with its line break, and with one half of it. */
	feed(&p, CHUNKED "a\r\n", 12, &out);
	feed(&p, "0\r\n\r\n", 0, &out);
	expect_text(&out, "200 1.1 chunked\n  67-134 head 47 body 10 exact\n");
	feed(&p, CHUNKED "a\r\n", 11, &out);
	feed(&p, "\n0\r\n\r\n", 0, &out);
	expect_text(&out, "200 1.1 chunked\n  134-201 head 47 body 10 exact\n");
	/* Sizes unseen: the last chunk, on its own, is recognised. */
	feed(&p, CHUNKED "a\r\nabc", 1000, &out);
	feed(&p, "0\r\n\r\n", 0, &out);
	assert_string_equal(sbuf_str(&out) + strlen("200 1.1 chunked\n"), "  201-1259 head 47 body 1006 guessed\n");
	sbuf_reset(&out);
	/* ... or at the end of a piece, in whatever pieces. */
	feed(&p, CHUNKED, 1000, &out);
	feed(&p, "text\r\n0\r", 0, &out);
	feed(&p, "\n\r", 0, &out);
	feed(&p, "\nHTTP/1.1 204 \r\n\r\n", 0, &out);
	assert_non_null(strstr(sbuf_str(&out), "guessed\n204 1.1 none\n"));
	sbuf_reset(&out);
	/* ... but not the end of a number. */
	feed(&p, CHUNKED, 1000, &out);
	feed(&p, "10\r\n\r\n\r\n0\r\n0\r\n\r\r\n0\r\n\r", 0, &out);
	expect_text(&out, "200 1.1 chunked\n");
	/* Otherwise the turn ends it. */
	assert_true(http1_resync(&p));
	feed(&p, "HTTP/1.1 204 \r\n\r\n", 0, &out);
	assert_non_null(strstr(sbuf_str(&out), " turn\n204 1.1 none\n"));
	http1_release(&p);
	sbuf_release(&out);
}

/* --- boundaries the kernel saw ------------------------------------------------------------------------------------ */

static void resync_knows_its_place(void **state)
{
	struct http1 p;
	struct sbuf out = {0};
	(void)state;
	/* "100 Continue" makes a turn between the head and the body of a request. */
	http1_init(&p, &shared, HTTP1_REQUESTS);
	feed(&p, "PUT / HTTP/1.1\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n", 0, &out);
	assert_false(http1_resync(&p));
	feed(&p, "body", 0, &out);
	expect_text(&out, "PUT / 1.1 length=4 expect\n  0-63 head 59 body 4 exact\n");
	/* A head that arrives while the other side already answers. */
	feed(&p, "GET / HTTP/1.1\r\n", 0, &out);
	assert_false(http1_resync(&p));
	feed(&p, "\r\n", 0, &out);
	expect_text(&out, "GET / 1.1 none\n  63-81 head 18 body 0 exact\n");
	http1_release(&p);

	/* A response to an unseen request may answer HEAD, and then has no body in spite of its length. */
	http1_init(&p, &shared, HTTP1_RESPONSES);
	feed(&p, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", 0, &out);
	assert_true(http1_resync(&p));
	http1_expect(&p, HTTP1_ASKED_OTHER);
	feed(&p, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", 0, &out);
	assert_false(http1_resync(&p));
	feed(&p, "body", 0, &out);
	expect_text(&out, "200 1.1 length=4 unasked\n  0-38 head 38 body 0 turn\n200 1.1 length=4\n"
			  "  38-80 head 38 body 4 exact\n");
	http1_release(&p);
	sbuf_release(&out);
}

static void midstream(void **state)
{
	struct http1 p;
	struct sbuf out = {0};
	(void)state;
	http1_init(&p, &shared, HTTP1_REQUESTS);
	http1_midstream(&p);
	feed(&p, "the middle of an upload, GET / HTTP/1.1\r\n\r\n", 10, &out);
	expect_text(&out, "");
	assert_true(http1_resync(&p));
	feed(&p, "GET / HTTP/1.1\r\n\r\n", 0, &out);
	expect_text(&out, "GET / 1.1 none\n  53-71 head 18 body 0 exact\n");
	http1_release(&p);
	sbuf_release(&out);
}

static void ends(void **state)
{
	static const struct {
		const char *bytes, *events;
		bool response;
	} cases[] = {
		{"HTTP/1.0 200 OK\r\n\r\nbody", "200 1.0 close closing\n  0-23 head 19 body 4 close\n", true},
		{"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbody", "200 1.1 length=9\n  0-42 head 38 body 4 cut\n",
		 true},
		{CHUNKED "5\r\nab", "200 1.1 chunked\n  0-52 head 47 body 2 cut\n", true},
		{"POST / HTTP/1.1\r\nHost: h\r\nContent-Le",
		 "POST / 1.1 turn host=h truncated\n  0-36 head 36 body 0 cut\n", false},
		{"GE", "  0-2 head 0 body 0 cut headless\n", false},
		{"GET / HTTP/1.1\r\n\r\n", "GET / 1.1 none\n  0-18 head 18 body 0 exact\n", false},
		{"", "", false},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct http1 p;
		struct sbuf out = {0};
		http1_init(&p, &shared, cases[i].response ? HTTP1_RESPONSES : HTTP1_REQUESTS);
		http1_expect(&p, HTTP1_ASKED_OTHER);
		feed(&p, cases[i].bytes, 0, &out);
		http1_eof(&p);
		replay_events(&p, &out);
		http1_eof(&p);
		replay_events(&p, &out);
		expect_text(&out, cases[i].events);
		http1_release(&p);
		assert_int_equal(shared.split_cnt, 0);
		sbuf_release(&out);
	}
}

static void leaving(void **state)
{
	struct http1 p;
	struct sbuf out = {0};
	(void)state;
	http1_init(&p, &shared, HTTP1_REQUESTS);
	feed(&p, "GET", 0, &out);
	http1_leave(&p);
	feed(&p, "GET / HTTP/1.1\r\n\r\n", 5, &out);
	assert_false(http1_resync(&p));
	http1_eof(&p);
	replay_events(&p, &out);
	expect_text(&out, "");
	assert_true(http1_is_over(&p));
	assert_int_equal(p.lost, 23);
	http1_release(&p);
	sbuf_release(&out);
}

/* --- the rest ----------------------------------------------------------------------------------------------------- */

static void times(void **state)
{
	static struct http1_head head;
	const char *pieces[] = {"PO", "ST / HTTP/1.1\r\nContent-Len", "gth: 4\r\n\r\nbo", "dy"};
	struct http1 p;
	enum http1_event event;
	unsigned heads = 0, ended = 0;
	(void)state;
	http1_init(&p, &shared, HTTP1_REQUESTS);
	for (size_t i = 0; i < 4; i++) {
		http1_feed(&p, sv_of(pieces[i]), 0, 100 + i);
		while ((event = http1_next(&p, &head)) != HTTP1_MORE) {
			heads += event == HTTP1_HEAD && i == 2;
			ended += event == HTTP1_END && i == 3;
		}
	}
	assert_int_equal(heads, 1);
	assert_int_equal(ended, 1);
	assert_int_equal(p.message.start_ns, 100);
	assert_int_equal(p.message.last_ns, 103);
	http1_release(&p);
}

/* More requests in flight than are remembered one by one. */
static void many_expected(void **state)
{
	struct http1 p;
	struct sbuf out = {0};
	(void)state;
	http1_init(&p, &shared, HTTP1_RESPONSES);
	for (int i = 0; i < 40; i++)
		http1_expect(&p, i % 2 ? HTTP1_ASKED_HEAD : HTTP1_ASKED_OTHER);
	for (int i = 0; i < 40; i++) {
		feed(&p,
		     i < 32 && i % 2 ? "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
				     : "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nxx",
		     0, &out);
		assert_true(http1_is_idle(&p));
		assert_int_equal(p.messages, i + 1);
	}
	assert_int_equal(p.expected_cnt, 0);
	http1_release(&p);
	sbuf_release(&out);
}

static void too_many_split_heads(void **state)
{
	struct http1_shared few;
	struct http1 p[3];
	struct sbuf out = {0};
	(void)state;
	http1_shared_init(&few, 0, 2);
	for (int i = 0; i < 3; i++) {
		http1_init(&p[i], &few, HTTP1_REQUESTS);
		feed(&p[i], "GET / HTTP/1.1\r\nHos", 0, &out);
	}
	assert_int_equal(few.split_cnt, 2);
	assert_int_equal(few.split_overflow, 1);
	expect_text(&out, "GET / 1.1 turn truncated\n");
	for (int i = 0; i < 2; i++)
		feed(&p[i], "t: h\r\n\r\n", 0, &out);
	assert_int_equal(few.split_cnt, 0);
	for (int i = 0; i < 3; i++)
		http1_release(&p[i]);
	http1_shared_release(&few);
	sbuf_release(&out);
}

static void wanted_names(void **state)
{
	struct http1_wanted w = {0};
	char name[] = "x-a-00";
	(void)state;
	assert_int_equal(http1_want(&w, SV("X-Request-Id")), 0);
	assert_int_equal(http1_want(&w, SV("x-request-id")), 0);
	assert_int_equal(http1_want(&w, SV("")), -EINVAL);
	assert_int_equal(http1_want(&w, SV("a b")), -EINVAL);
	assert_int_equal(http1_want(&w, SV("a:")), -EINVAL);
	for (int i = 1; i < HTTP1_MAX_WANTED; i++) {
		name[4] = (char)('0' + i / 10);
		name[5] = (char)('0' + i % 10);
		assert_int_equal(http1_want(&w, sv_of(name)), i);
	}
	assert_int_equal(http1_want(&w, SV("one-more")), -ENOSPC);
	name[4] = name[5] = '2';
	assert_int_equal(http1_want(&w, sv_of(name)), 22);
	http1_wanted_release(&w);
}

static void detection(void **state)
{
	static const struct {
		const char *bytes;
		enum protocol_match request, response;
	} cases[] = {
		{"", PROTOCOL_MAYBE, PROTOCOL_MAYBE},
		{"G", PROTOCOL_MAYBE, PROTOCOL_NO},
		{"GET", PROTOCOL_MAYBE, PROTOCOL_NO},
		{"GET /", PROTOCOL_SURE, PROTOCOL_NO},
		{"GET / HTTP/1.1\r\n", PROTOCOL_SURE, PROTOCOL_NO},
		{"GET key\r\n", PROTOCOL_NO, PROTOCOL_NO},
		{"GET key", PROTOCOL_MAYBE, PROTOCOL_NO},
		{"FROB / HTTP/1.1\r\n", PROTOCOL_SURE, PROTOCOL_NO},
		{"FROB /", PROTOCOL_MAYBE, PROTOCOL_NO},
		{"\r\nGET / HTTP/1.1\r\n", PROTOCOL_SURE, PROTOCOL_NO},
		{"\x16\x03", PROTOCOL_NO, PROTOCOL_NO},
		{"H", PROTOCOL_MAYBE, PROTOCOL_MAYBE},
		{"HTTP/1.", PROTOCOL_NO, PROTOCOL_MAYBE},
		{"HTTP/1.1 20", PROTOCOL_NO, PROTOCOL_MAYBE},
		{"HTTP/1.1 200", PROTOCOL_NO, PROTOCOL_MAYBE},
		{"HTTP/1.1 200 ", PROTOCOL_NO, PROTOCOL_SURE},
		{"HTTP/1.1 099 ", PROTOCOL_NO, PROTOCOL_NO},
		{"HTTP/2 200 ", PROTOCOL_NO, PROTOCOL_NO},
	};
	bool response;
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (http1_is_request(sv_of(cases[i].bytes)) != cases[i].request ||
		    http1_is_response(sv_of(cases[i].bytes)) != cases[i].response)
			fail_msg("'%s'", cases[i].bytes);
	}
	assert_int_equal(protocol_detect(SV("HTTP/1.1 200 OK"), &response)->id, PROTOCOL_http1);
	assert_true(response);
	assert_string_equal(protocol_detect(SV("GET / HTTP/1.1\r\n"), &response)->name, "http1");
	assert_false(response);
	assert_null(protocol_detect(SV("*1\r\n$4\r\nPING\r\n"), &response));
}

static int setup(void **state)
{
	(void)state;
	http1_shared_init(&shared, HEAD_MAX, 0);
	http1_want(&shared.wanted, SV("traceparent"));
	http1_want(&shared.wanted, SV("tracestate"));
	http1_want(&shared.wanted, SV("X-B3-TraceId"));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	http1_shared_release(&shared);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(meaning),
		cmocka_unit_test(every_split),
		cmocka_unit_test(small_pieces),
		cmocka_unit_test(interleaved),
		cmocka_unit_test(unseen_tail),
		cmocka_unit_test(body_is_counted),
		cmocka_unit_test(unseen_message),
		cmocka_unit_test(cut_heads),
		cmocka_unit_test(long_heads),
		cmocka_unit_test(chunks_unseen),
		cmocka_unit_test(resync_knows_its_place),
		cmocka_unit_test(midstream),
		cmocka_unit_test(ends),
		cmocka_unit_test(leaving),
		cmocka_unit_test(times),
		cmocka_unit_test(many_expected),
		cmocka_unit_test(too_many_split_heads),
		cmocka_unit_test(wanted_names),
		cmocka_unit_test(detection),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
