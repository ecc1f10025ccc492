/* SPDX-License-Identifier: Apache-2.0 */
#include "export/payload.h"

#include <errno.h>

struct payload *payload_new(struct process_info *who, bool counted, enum payload_format format)
{
	struct payload *p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->who = process_info_ref(who);
	p->counted = counted;
	p->format = format;
	return p;
}

void payload_free(struct payload *p)
{
	if (!p)
		return;
	process_info_unref(p->who);
	packer_release(&p->body);
	v05_strings_release(&p->strings);
	vec_release(&p->chunks);
	free(p);
}

bool payload_is_about(const struct payload *p, const struct process_info *who, bool counted)
{
	const struct process_info *a = p->who;
	if (p->counted != counted)
		return false;
	return a == who ||
	       (sv_eq(a->language, who->language) && sv_eq(a->language_version, who->language_version) &&
		sv_eq(a->interpreter, who->interpreter) && sv_eq(a->container_id, who->container_id) &&
		sv_eq(a->env, who->env) && sv_eq(a->version, who->version) && sv_eq(a->hostname, who->hostname) &&
		sv_eq(a->external_env, who->external_env) && a->cgroup_inode == who->cgroup_inode);
}

static size_t payload_start(const struct payload *p, size_t chunk)
{
	return chunk ? p->chunks.data[chunk - 1].end : 0;
}

size_t payload_sz(const struct payload *p)
{
	return p->body.len + (p->format == PAYLOAD_V05 ? v05_strings_sz(&p->strings) : 0);
}

size_t payload_wire_sz(const struct payload *p)
{
	return p->body.len + p->strings.text.len;
}

size_t payload_last_sz(const struct payload *p)
{
	return p->body.len - payload_start(p, p->chunks.cnt - 1);
}

void payload_trim(struct payload *p)
{
	packer_trim(&p->body);
	v05_strings_trim(&p->strings);
}

int payload_add(struct payload *p, struct tags *t, const struct chunk *c, uint64_t now_ns)
{
	size_t before = p->body.len;
	int r = p->format == PAYLOAD_V05 ? v05_chunk(&p->body, &p->strings, t, c) : v04_chunk(&p->body, t, c);
	if (r == 0)
		r = vec_push(&p->chunks, ((struct payload_chunk){p->body.len, c->span_cnt, chunk_priority(c)}));
	if (r < 0) {
		p->body.len = before;
		return r;
	}
	if (p->chunks.cnt == 1)
		p->born_ns = now_ns;
	p->spans += c->span_cnt;
	p->dropped_traces += c->dropped_traces;
	p->dropped_spans += c->dropped_spans;
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
	struct payload *tail = payload_new(p->who, p->counted, p->format);
	size_t from = payload_start(p, first), len = p->body.len - from;
	char *to = tail ? packer_reserve(&tail->body, len) : NULL;
	bool ok = to && (p->format != PAYLOAD_V05 || v05_strings_copy(&tail->strings, &p->strings) == 0);
	for (size_t i = first; ok && i < p->chunks.cnt; i++) {
		struct payload_chunk c = p->chunks.data[i];
		c.end -= from;
		ok = vec_push(&tail->chunks, c) == 0;
		tail->spans += c.spans;
	}
	if (!ok) {
		payload_free(tail);
		return NULL;
	}
	memcpy(to, p->body.data + from, len);
	tail->body.len = len;
	tail->born_ns = p->born_ns;
	tail->due_ns = p->due_ns;
	p->chunks.cnt = first;
	p->spans -= tail->spans;
	p->body.len = from;
	return tail;
}

int payload_lowest(const struct payload *p)
{
	int lowest = INT_MAX;
	vec_foreach (c, &p->chunks)
		if (c->priority < lowest)
			lowest = c->priority;
	return lowest;
}

uint64_t payload_drop(struct payload *p, int priority, size_t want)
{
	size_t kept = 0, from = 0, len = 0;
	uint64_t spans = 0;
	for (size_t i = 0; i < p->chunks.cnt; i++) {
		struct payload_chunk c = p->chunks.data[i];
		size_t sz = c.end - from;
		if (c.priority == priority && from - len < want) {
			spans += c.spans;
		} else {
			memmove(p->body.data + len, p->body.data + from, sz);
			len += sz;
			p->chunks.data[kept++] = (struct payload_chunk){len, c.spans, c.priority};
		}
		from = c.end;
	}
	p->chunks.cnt = kept;
	p->body.len = len;
	p->spans -= spans;
	return spans;
}

int payload_downgrade(struct payload *p)
{
	if (p->format == PAYLOAD_V04)
		return 0;
	struct packer body = {0};
	VEC(size_t) ends = {0};
	size_t from = 0;
	ssize_t r = 0;
	vec_foreach (c, &p->chunks) {
		r = v05_to_v04(&body, &p->strings, (struct sv){p->body.data + from, c->end - from});
		if (r >= 0)
			r = vec_push(&ends, body.len);
		if (r < 0)
			break;
		from = c->end;
	}
	for (size_t i = 0; r >= 0 && i < p->chunks.cnt; i++)
		p->chunks.data[i].end = ends.data[i];
	vec_release(&ends);
	if (r < 0) {
		packer_release(&body);
		return (int)r;
	}
	packer_release(&p->body);
	v05_strings_release(&p->strings);
	p->body = body;
	p->format = PAYLOAD_V04;
	return 0;
}

static struct sv array_head(char **at, uint32_t cnt)
{
	char *start = *at;
	put_array(at, cnt);
	return (struct sv){start, (size_t)(*at - start)};
}

unsigned payload_body(struct payload *p, struct sv parts[PAYLOAD_MAX_PARTS])
{
	char *at = p->heads;
	unsigned n = 0;
	if (p->format == PAYLOAD_V05) {
		*at++ = (char)0x92; /* an array of two: strings, chunks */
		struct sv head = array_head(&at, (uint32_t)p->strings.list.cnt);
		parts[n++] = (struct sv){head.data - 1, head.len + 1};
		parts[n++] = (struct sv){p->strings.text.data, p->strings.text.len};
	}
	parts[n++] = array_head(&at, (uint32_t)p->chunks.cnt);
	parts[n++] = (struct sv){p->body.data, p->body.len};
	return n;
}
