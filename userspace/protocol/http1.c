/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/http1.h"

#include <stdlib.h>

/* A head that arrived in parts; head_max bytes. */
struct http1_buffer {
	struct http1_buffer *next;
	uint32_t len;
	char bytes[];
};

enum state {
	IDLE,
	IN_HEAD,
	BY_LENGTH,
	CHUNK_SIZE,
	CHUNK_LINE, /* the rest of the line with the size */
	CHUNK_DATA,
	CHUNK_BREAK, /* the line break behind the data: body_left bytes of it */
	TRAILER,
	BLIND, /* in a chunked body, with sizes unseen: looks for its end */
	UNTIL_TURN,
	UNTIL_CLOSE,
	LOST,
	OVER,
};

/* What a step of the state machine returns beside an event: the state changed, go on. */
#define STEP_ON	   (-1)
#define NOT_ENDING 255
#define CHUNK_MAX  (1ULL << 56) /* bytes; beyond it is nonsense */

static const struct sv last_chunk = {"\r\n0\r\n\r\n", 7};

/* --- shared ------------------------------------------------------------------------------------------------------- */

void http1_shared_init(struct http1_shared *s, uint32_t head_max, uint32_t max_split)
{
	*s = (struct http1_shared){
		.head_max = head_max ? head_max : HTTP1_HEAD_DEFAULT,
		.max_split = max_split ? max_split : HTTP1_SPLIT_DEFAULT,
	};
	if (s->head_max > HTTP1_HEAD_LIMIT)
		s->head_max = HTTP1_HEAD_LIMIT;
}

void http1_shared_release(struct http1_shared *s)
{
	while (s->spare) {
		struct http1_buffer *b = s->spare;
		s->spare = b->next;
		free(b);
	}
	http1_wanted_release(&s->wanted);
}

static struct http1_buffer *buffer_get(struct http1_shared *s)
{
	struct http1_buffer *b = NULL;
	if (s->split_cnt < s->max_split) {
		b = s->spare;
		if (b)
			s->spare = b->next;
		else
			b = malloc(sizeof(*b) + s->head_max);
	}
	if (!b) {
		s->split_overflow++;
		return NULL;
	}
	s->split_cnt++;
	b->len = 0;
	return b;
}

static void buffer_put(struct http1 *p)
{
	struct http1_buffer *b = p->buffer;
	p->buffer = NULL;
	p->drop_buffer = false;
	if (!b)
		return;
	b->next = p->shared->spare;
	p->shared->spare = b;
	p->shared->split_cnt--;
}

/* --- life --------------------------------------------------------------------------------------------------------- */

void http1_init(struct http1 *p, struct http1_shared *shared, enum http1_role role)
{
	*p = (struct http1){.shared = shared, .role = (uint8_t)role, .state = IDLE, .ending = NOT_ENDING};
}

void http1_release(struct http1 *p)
{
	if (p->shared)
		buffer_put(p);
	*p = (struct http1){0};
}

void http1_feed(struct http1 *p, struct sv bytes, uint64_t unseen, uint64_t now_ns)
{
	p->at = bytes.data;
	p->left = bytes.len;
	p->unseen = unseen;
	p->now_ns = now_ns;
}

void http1_expect(struct http1 *p, enum http1_asked asked)
{
	if (p->expected_cnt < 32)
		p->expected |= (uint64_t)asked << (2 * p->expected_cnt);
	p->expected_cnt++;
}

static enum http1_asked expected_first(const struct http1 *p)
{
	return p->expected_cnt ? (enum http1_asked)(p->expected & 3) : HTTP1_ASKED_UNKNOWN;
}

static void expected_pop(struct http1 *p)
{
	p->expected >>= 2;
	p->expected_cnt -= p->expected_cnt > 0;
}

static bool in_message(const struct http1 *p)
{
	return p->state > IDLE && p->state < LOST;
}

bool http1_resync(struct http1 *p)
{
	switch (p->state) {
	case LOST:
		p->state = IDLE;
		return true;
	case BLIND:
	case UNTIL_TURN:
		break;
	case IDLE:
	case IN_HEAD:
	case OVER:
		return false;
	default:
		/* It was framed as an answer to a request nobody saw; that may have been HEAD. */
		if (!p->unsure)
			return false;
	}
	if (p->ending == NOT_ENDING)
		p->ending = HTTP1_END_TURN;
	return true;
}

void http1_midstream(struct http1 *p)
{
	buffer_put(p);
	p->state = LOST;
	p->ending = NOT_ENDING;
}

void http1_eof(struct http1 *p)
{
	if (!in_message(p) || p->ending != NOT_ENDING)
		return;
	bool proper = p->state == UNTIL_CLOSE || p->state == UNTIL_TURN || p->state == BLIND;
	p->ending = proper ? HTTP1_END_CLOSE : HTTP1_END_CUT;
}

void http1_leave(struct http1 *p)
{
	buffer_put(p);
	p->state = OVER;
	p->ending = NOT_ENDING;
}

bool http1_is_over(const struct http1 *p)
{
	return p->state == OVER;
}

bool http1_is_idle(const struct http1 *p)
{
	return p->state == IDLE;
}

bool http1_is_lost(const struct http1 *p)
{
	return p->state == LOST;
}

/* --- bytes -------------------------------------------------------------------------------------------------------- */

static void take(struct http1 *p, size_t n)
{
	p->at += n;
	p->left -= n;
	p->offset += n;
	p->message.last_ns = p->now_ns;
}

static void pass(struct http1 *p, uint64_t n)
{
	p->unseen -= n;
	p->offset += n;
	p->message.last_ns = p->now_ns;
}

/* Up to `max` bytes, seen or not; how many there were. */
static uint64_t consume(struct http1 *p, uint64_t max)
{
	uint64_t seen = p->left < max ? p->left : max;
	if (seen)
		take(p, (size_t)seen);
	uint64_t unseen = p->unseen < max - seen ? p->unseen : max - seen;
	if (unseen)
		pass(p, unseen);
	return seen + unseen;
}

/* Seen bytes up to and including `c`; false when it is not there and all of them were taken. */
static bool take_through(struct http1 *p, char c)
{
	const char *found = p->left ? memchr(p->at, c, p->left) : NULL;
	take(p, found ? (size_t)(found + 1 - p->at) : p->left);
	return found != NULL;
}

static int turn_to(struct http1 *p, enum state state)
{
	p->state = (uint8_t)state;
	return STEP_ON;
}

static int end_exactly(struct http1 *p)
{
	p->ending = HTTP1_END_EXACT;
	return STEP_ON;
}

/* --- heads -------------------------------------------------------------------------------------------------------- */

static int step_idle(struct http1 *p)
{
	/* A server ignores empty lines before a request (RFC 9112, 2.2), and so do clients. */
	while (p->left && (*p->at == '\r' || *p->at == '\n')) {
		take(p, 1);
		p->lost++;
	}
	if (p->left) {
		p->message = (struct http1_message){.start = p->offset, .start_ns = p->now_ns, .last_ns = p->now_ns};
		p->scanned = 0;
		p->line_good = false;
		p->unsure = false;
		return turn_to(p, IN_HEAD);
	}
	if (!p->unseen)
		return HTTP1_MORE;
	p->state = LOST;
	return HTTP1_UNSEEN;
}

typedef int8_t bytes16 __attribute__((vector_size(16)));
typedef uint64_t words2 __attribute__((vector_size(16)));

static inline bytes16 load16(const char *at)
{
	bytes16 v;
	memcpy(&v, at, sizeof(v));
	return v;
}

/* From `i` on, steps over bytes among which no empty line follows a line break. */
static inline size_t pass_lines(struct sv s, size_t i)
{
	for (; i + sizeof(bytes16) + 2 <= s.len; i += sizeof(bytes16)) {
		bytes16 first = load16(s.data + i), second = load16(s.data + i + 1), third = load16(s.data + i + 2);
		words2 hit = (words2)((first == '\n') & ((second == '\n') | ((second == '\r') & (third == '\n'))));
		if (hit[0] | hit[1])
			break;
	}
	return i;
}

/* Where the empty line ends that ends a head, 0 when it is not there. *scanned: what need not be looked at again. */
static size_t find_end(struct sv s, uint32_t *scanned)
{
	size_t i = pass_lines(s, *scanned);
	while (i < s.len) {
		const char *nl = memchr(s.data + i, '\n', s.len - i);
		if (!nl)
			break;
		i = (size_t)(nl - s.data);
		if (i + 1 < s.len && s.data[i + 1] == '\n')
			return i + 2;
		if (i + 2 < s.len && s.data[i + 1] == '\r' && s.data[i + 2] == '\n')
			return i + 3;
		if (i + 1 == s.len || (i + 2 == s.len && s.data[i + 1] == '\r')) {
			*scanned = (uint32_t)i;
			return 0;
		}
		i++;
	}
	*scanned = (uint32_t)s.len;
	return 0;
}

static int not_http(struct http1 *p)
{
	p->lost += p->offset - p->message.start;
	buffer_put(p);
	p->state = LOST;
	return HTTP1_NOT_HTTP;
}

static enum state body_state(const struct http1_head *h)
{
	switch (h->framing) {
	case HTTP1_LENGTH:
		return BY_LENGTH;
	case HTTP1_CHUNKED:
		return CHUNK_SIZE;
	case HTTP1_UNTIL_CLOSE:
		return UNTIL_CLOSE;
	default:
		return UNTIL_TURN;
	}
}

/* The head is in `bytes`, the last `fresh` of them still in the piece. */
static int give_head(struct http1 *p, struct sv bytes, size_t fresh, bool cut, struct http1_head *head)
{
	enum http1_asked asked = expected_first(p);
	if (http1_head_parse(bytes, p->role, cut, asked, &p->shared->wanted, head))
		return not_http(p);
	take(p, fresh);
	p->drop_buffer = p->buffer != NULL;
	if (p->role == HTTP1_RESPONSES && !head->interim)
		expected_pop(p);
	p->message.head_sz = head->size;
	p->message.has_head = true;
	p->message.interim = head->interim;
	p->message.truncated = cut;
	p->unsure = head->unasked;
	p->tunnel = head->framing == HTTP1_TUNNEL;
	p->digits = 0;
	p->body_left = 0;
	p->state = (uint8_t)body_state(head);
	if (head->framing == HTTP1_LENGTH)
		p->body_left = head->content_length;
	else if (head->framing == HTTP1_NO_BODY || head->framing == HTTP1_TUNNEL)
		p->ending = HTTP1_END_EXACT;
	return HTTP1_HEAD;
}

/* The head so far in one piece of memory; *ret_fresh: how many bytes of it are still to be taken from the piece. */
static struct sv gather(struct http1 *p, size_t *ret_fresh)
{
	uint32_t max = p->shared->head_max;
	size_t have = p->buffer ? p->buffer->len : 0;
	size_t fresh = p->left < max - have ? p->left : max - have;
	*ret_fresh = fresh;
	if (!p->buffer)
		return (struct sv){p->at, fresh};
	if (fresh)
		memcpy(p->buffer->bytes + have, p->at, fresh);
	return (struct sv){p->buffer->bytes, have + fresh};
}

static bool keep(struct http1 *p, size_t fresh)
{
	if (!p->buffer) {
		p->buffer = buffer_get(p->shared);
		if (!p->buffer)
			return false;
		memcpy(p->buffer->bytes, p->at, fresh);
	}
	p->buffer->len += (uint32_t)fresh;
	take(p, fresh);
	return true;
}

static bool line_is_bad(struct http1 *p, struct sv bytes)
{
	if (p->line_good)
		return false;
	enum protocol_match m = p->role == HTTP1_REQUESTS ? http1_is_request(bytes) : http1_is_response(bytes);
	p->line_good = m == PROTOCOL_SURE && memchr(bytes.data, '\n', bytes.len);
	return m == PROTOCOL_NO;
}

static int step_head(struct http1 *p, struct http1_head *head)
{
	size_t fresh, before = p->buffer ? p->buffer->len : 0;
	if (!p->left && !p->unseen)
		return HTTP1_MORE;
	struct sv bytes = gather(p, &fresh);
	size_t end = find_end(bytes, &p->scanned);
	if (end)
		return give_head(p, (struct sv){bytes.data, end}, end - before, false, head);
	if (bytes.len == p->shared->head_max || p->unseen)
		return give_head(p, bytes, fresh, true, head);
	if (line_is_bad(p, bytes))
		return not_http(p);
	if (!keep(p, fresh))
		return give_head(p, bytes, fresh, true, head);
	return HTTP1_MORE;
}

/* --- bodies ------------------------------------------------------------------------------------------------------- */

static int step_length(struct http1 *p)
{
	uint64_t n = consume(p, p->body_left);
	p->body_left -= n;
	p->message.body_sz += n;
	return p->body_left ? HTTP1_MORE : end_exactly(p);
}

static int step_chunk_data(struct http1 *p)
{
	uint64_t n = consume(p, p->body_left);
	p->body_left -= n;
	p->message.body_sz += n;
	if (p->body_left)
		return HTTP1_MORE;
	p->body_left = 2;
	return turn_to(p, CHUNK_BREAK);
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Bytes that were not copied: from here on sizes are not known, and the last chunk may follow at once. */
static int go_blind(struct http1 *p)
{
	p->digits = 2; /* as if a line break had been seen */
	return turn_to(p, BLIND);
}

static int step_chunk_size(struct http1 *p)
{
	while (p->left) {
		int v = hex_value(*p->at);
		if (v < 0)
			break;
		if (p->body_left > CHUNK_MAX)
			return turn_to(p, UNTIL_TURN);
		p->body_left = p->body_left * 16 + (uint64_t)v;
		p->digits = 1;
		take(p, 1);
	}
	if (p->left)
		return turn_to(p, p->digits && memchr(";\r\n \t", *p->at, 5) ? CHUNK_LINE : UNTIL_TURN);
	return p->unseen ? go_blind(p) : HTTP1_MORE;
}

static int step_chunk_line(struct http1 *p)
{
	if (!take_through(p, '\n'))
		return p->unseen ? go_blind(p) : HTTP1_MORE;
	p->digits = 0; /* in a trailer: bytes of its line */
	return turn_to(p, p->body_left ? CHUNK_DATA : TRAILER);
}

static int step_chunk_break(struct http1 *p)
{
	while (p->body_left && p->left) {
		char c = *p->at;
		if (c != '\n' && (c != '\r' || p->body_left == 1))
			return turn_to(p, UNTIL_TURN);
		take(p, 1);
		p->body_left = c == '\n' ? 0 : 1;
	}
	uint64_t n = p->unseen < p->body_left ? p->unseen : p->body_left;
	if (n)
		pass(p, n);
	p->body_left -= n;
	if (p->body_left)
		return HTTP1_MORE;
	p->digits = 0;
	return turn_to(p, CHUNK_SIZE);
}

static int step_trailer(struct http1 *p)
{
	while (p->left) {
		char c = *p->at;
		take(p, 1);
		if (c == '\n' && !p->digits)
			return end_exactly(p);
		if (c != '\r')
			p->digits = c != '\n';
	}
	return p->unseen ? turn_to(p, UNTIL_TURN) : HTTP1_MORE;
}

/* How much of last_chunk the bytes so far end with, when `have` of it were matched and `c` follows. */
static uint8_t match_last_chunk(uint8_t have, char c)
{
	if (last_chunk.data[have] == c)
		return have + 1;
	if (have == 5 && c == '0')
		return 3;
	return c == '\r';
}

static int step_blind(struct http1 *p)
{
	while (p->left) {
		p->digits = match_last_chunk(p->digits, *p->at);
		take(p, 1);
		p->message.body_sz++;
		if (p->digits == last_chunk.len) {
			p->ending = HTTP1_END_GUESSED;
			return STEP_ON;
		}
	}
	if (p->unseen) {
		p->message.body_sz += p->unseen;
		pass(p, p->unseen);
		p->digits = 2;
	}
	return HTTP1_MORE;
}

static int step_all(struct http1 *p)
{
	uint64_t n = consume(p, UINT64_MAX);
	if (p->state == LOST || p->state == OVER)
		p->lost += n;
	else
		p->message.body_sz += n;
	return HTTP1_MORE;
}

static int step(struct http1 *p, struct http1_head *head)
{
	switch (p->state) {
	case IDLE:
		return step_idle(p);
	case IN_HEAD:
		return step_head(p, head);
	case BY_LENGTH:
		return step_length(p);
	case CHUNK_SIZE:
		return step_chunk_size(p);
	case CHUNK_LINE:
		return step_chunk_line(p);
	case CHUNK_DATA:
		return step_chunk_data(p);
	case CHUNK_BREAK:
		return step_chunk_break(p);
	case TRAILER:
		return step_trailer(p);
	case BLIND:
		return step_blind(p);
	default:
		return step_all(p);
	}
}

/* The connection ended within a head: what is there of it may be enough for a span. */
static bool give_rest(struct http1 *p, struct http1_head *head)
{
	if (p->state != IN_HEAD || !p->buffer)
		return false;
	struct http1_buffer *b = p->buffer;
	uint64_t lost = p->lost;
	if (give_head(p, (struct sv){b->bytes, b->len}, 0, true, head) == HTTP1_HEAD) {
		p->ending = HTTP1_END_CUT;
		return true;
	}
	p->lost = lost;
	return false;
}

static enum http1_event give_end(struct http1 *p)
{
	buffer_put(p);
	p->message.end = p->offset;
	p->message.end_kind = p->ending;
	p->ending = NOT_ENDING;
	p->messages++;
	p->state = p->tunnel ? OVER : IDLE;
	return HTTP1_END;
}

enum http1_event http1_next(struct http1 *p, struct http1_head *head)
{
	if (p->drop_buffer)
		buffer_put(p);
	for (;;) {
		if (p->ending != NOT_ENDING)
			return give_rest(p, head) ? HTTP1_HEAD : give_end(p);
		int event = step(p, head);
		if (event != STEP_ON)
			return (enum http1_event)event;
	}
}
