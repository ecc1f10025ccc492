/* SPDX-License-Identifier: Apache-2.0 */
#include "export/payload.h"

#include <errno.h>
#include <stdlib.h>

struct payload *payload_new(struct process_info *who)
{
	struct payload *p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->who = process_info_ref(who);
	return p;
}

void payload_free(struct payload *p)
{
	if (!p)
		return;
	process_info_unref(p->who);
	v04_release(&p->body);
	vec_release(&p->chunks);
	free(p);
}

bool payload_is_about(const struct payload *p, const struct process_info *who)
{
	const struct process_info *a = p->who;
	return a == who ||
	       (sv_eq(a->language, who->language) && sv_eq(a->container_id, who->container_id) &&
		sv_eq(a->env, who->env) && sv_eq(a->version, who->version) && sv_eq(a->hostname, who->hostname));
}

static size_t payload_start(const struct payload *p, size_t chunk)
{
	return chunk ? p->chunks.data[chunk - 1].end : V04_HEAD_MAX;
}

size_t payload_sz(const struct payload *p)
{
	return payload_start(p, p->chunks.cnt) - V04_HEAD_MAX;
}

size_t payload_last_sz(const struct payload *p)
{
	return payload_sz(p) - (payload_start(p, p->chunks.cnt - 1) - V04_HEAD_MAX);
}

void payload_trim(struct payload *p)
{
	v04_trim(&p->body);
}

int payload_add(struct payload *p, struct tags *t, const struct chunk *c, uint64_t now_ns)
{
	if (v04_begin(&p->body) < 0)
		return -ENOMEM;
	size_t before = p->body.len;
	int r = v04_chunk(&p->body, t, c);
	if (r == 0)
		r = vec_push(&p->chunks, ((struct payload_chunk){p->body.len, c->span_cnt}));
	if (r < 0) {
		p->body.len = before;
		return r;
	}
	if (p->chunks.cnt == 1)
		p->born_ns = now_ns;
	p->spans += c->span_cnt;
	return 0;
}

void payload_pop(struct payload *p)
{
	struct payload_chunk last = p->chunks.data[--p->chunks.cnt];
	p->spans -= last.spans;
	p->body.len = payload_start(p, p->chunks.cnt);
}

struct payload *payload_split(struct payload *p, size_t first)
{
	struct payload *tail = payload_new(p->who);
	size_t from = payload_start(p, first);
	bool ok = tail && v04_begin(&tail->body) == 0 &&
		  v04_append(&tail->body, p->body.data + from, p->body.len - from) == 0;
	for (size_t i = first; ok && i < p->chunks.cnt; i++) {
		struct payload_chunk c = p->chunks.data[i];
		c.end = c.end - from + V04_HEAD_MAX;
		ok = vec_push(&tail->chunks, c) == 0;
		tail->spans += c.spans;
	}
	if (!ok) {
		payload_free(tail);
		return NULL;
	}
	tail->born_ns = p->born_ns;
	tail->due_ns = p->due_ns;
	p->chunks.cnt = first;
	p->spans -= tail->spans;
	p->body.len = from;
	return tail;
}

struct sv payload_body(struct payload *p)
{
	char head[V04_HEAD_MAX];
	size_t n = v04_head(head, (uint32_t)p->chunks.cnt);
	char *start = p->body.data + V04_HEAD_MAX - n;
	memcpy(start, head, n);
	return (struct sv){start, p->body.len - (V04_HEAD_MAX - n)};
}
