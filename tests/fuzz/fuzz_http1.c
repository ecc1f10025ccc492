/* SPDX-License-Identifier: Apache-2.0 */
/* What the parser says does not depend on how the bytes were cut into pieces, whatever part of them was not copied and
 * wherever the kernel saw boundaries; and every byte is accounted for. The input is a stream, or names the parts of
 * one. */
#include <stdint.h>
#include <stdlib.h>

#include "../unit/http1_replay.h"
#include "parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STREAM_MAX 1024

static const char *const parts[] = {
	"GET ",
	"HEAD ",
	"POST ",
	"CONNECT ",
	"/",
	"/a?b=c",
	"http://h",
	" HTTP/1.1",
	" HTTP/1.0",
	"HTTP/1.1 ",
	"HTTP/1.0 ",
	"200",
	" OK",
	"204",
	"304",
	"101",
	"100 Continue",
	"404 Not Found",
	"\r\n",
	"\n",
	"\r\n\r\n",
	"\r",
	" ",
	"\t",
	":",
	"Host: h",
	"User-Agent: a",
	"Content-Length: ",
	"Content-Length : ",
	"Transfer-Encoding: chunked",
	"chunked",
	"gzip, ",
	"identity",
	"Connection: close",
	"Connection: keep-alive",
	"Upgrade: websocket",
	"Expect: 100-continue",
	"traceparent: 00-1",
	"0",
	"1",
	"2",
	"5",
	"a",
	"10",
	"f",
	"ffffffff",
	",",
	";x=y",
	"0\r\n\r\n",
	"\r\n0\r\n\r\n",
	"5\r\nhello\r\n",
	"GET / HTTP/1.1\r\n\r\n",
	"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
	"body",
	"PRI * HTTP/2.0\r\n",
	"x",
};
#define PARTS (sizeof(parts) / sizeof(parts[0]))

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

/* One way to pass the stream on. */
struct way {
	struct sv bytes;
	const uint8_t *fate; /* for each byte: 0 seen; 1 unseen; 2 seen, after a boundary */
	enum http1_role role;
	uint32_t asked;
	unsigned piece; /* greatest length of a piece */
};

static void check(int good)
{
	if (!good)
		abort();
}

static size_t run_of(const struct way *w, size_t at, int unseen)
{
	size_t i = at;
	while (i < w->bytes.len && (w->fate[i] == 1) == unseen && (i == at || w->fate[i] != 2))
		i++;
	return i - at;
}

/* Pieces never end early before unseen bytes: those follow the piece they were not copied from. */
static void pass(const struct way *w, struct http1_shared *shared, struct sbuf *out)
{
	struct http1 p;
	uint32_t seed = w->piece;
	http1_init(&p, shared, w->role);
	for (uint32_t asked = w->asked; w->role == HTTP1_RESPONSES && asked; asked >>= 2)
		http1_expect(&p, asked & 3);
	for (size_t at = 0; at < w->bytes.len;) {
		if (w->fate[at] == 2 && http1_resync(&p))
			sbuf_adds(out, "resync\n");
		size_t seen = run_of(w, at, 0), unseen;
		size_t take = w->piece ? 1 + next_random(&seed) % w->piece : seen;
		take = take < seen ? take : seen;
		unseen = take == seen ? run_of(w, at + seen, 1) : 0;
		replay_piece(&p, (struct sv){w->bytes.data + at, take}, unseen, out);
		at += take + unseen;
		check(p.offset == at);
	}
	replay_state(&p, out);
	http1_eof(&p);
	replay_events(&p, out);
	check(p.message.end <= p.offset && p.message.head_sz + p.message.body_sz <= p.offset + 2);
	http1_release(&p);
	check(shared->split_cnt == 0);
}

static void fates(uint8_t *fate, size_t len, uint32_t seed, unsigned how)
{
	memset(fate, 0, len);
	for (unsigned i = 0; i < (how & 3) && len; i++) {
		size_t at = next_random(&seed) % len, n = next_random(&seed) % 64;
		for (size_t j = at; j < len && j < at + n; j++)
			fate[j] = 1;
	}
	for (unsigned i = 0; i < (how >> 2 & 3) && len; i++) {
		size_t at = next_random(&seed) % len;
		if (fate[at] == 0)
			fate[at] = 2;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char stream[STREAM_MAX];
	static uint8_t fate[STREAM_MAX];
	struct http1_shared shared;
	struct sbuf one = {0}, other = {0};
	if (size < 4)
		return 0;
	uint32_t seed = data[1] | data[2] << 8;
	size_t len = size - 4 < STREAM_MAX ? size - 4 : STREAM_MAX;
	if (data[0] & 1)
		len = parts_compose(parts, PARTS, data + 4, size - 4, stream, STREAM_MAX);
	else
		memcpy(stream, data + 4, len);
	fates(fate, len, seed, data[0] >> 2 & 15);
	struct way w = {{stream, len}, fate, data[0] & 2 ? HTTP1_RESPONSES : HTTP1_REQUESTS, data[3], 0};
	http1_shared_init(&shared, 64 + data[2] * 4u, 0);
	http1_want(&shared.wanted, SV("traceparent"));
	pass(&w, &shared, &one);
	const unsigned pieces[] = {1 + (data[3] & 7), 8 + (data[2] & 63)};
	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		w.piece = pieces[i];
		sbuf_reset(&other);
		pass(&w, &shared, &other);
		check(strcmp(sbuf_str(&one), sbuf_str(&other)) == 0);
	}
	http1_shared_release(&shared);
	sbuf_release(&one);
	sbuf_release(&other);
	return 0;
}
