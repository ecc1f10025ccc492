/* SPDX-License-Identifier: Apache-2.0 */
#include "export/trace_buffer.h"

#include <errno.h>

/* --- the list ----------------------------------------------------------------------------------------------------- */

static void list_append(struct trace_buffer *b, struct payload *p)
{
	p->next = NULL;
	if (b->first)
		b->last->next = p;
	else
		b->first = p;
	b->last = p;
}

void trace_buffer_remove(struct trace_buffer *b, struct payload *p)
{
	struct payload *before = NULL;
	for (struct payload *at = b->first; at != p; at = at->next)
		before = at;
	if (before)
		before->next = p->next;
	else
		b->first = p->next;
	if (b->last == p)
		b->last = before;
	b->bytes -= payload_sz(p);
	b->spans -= p->spans;
	payload_free(p);
}

static void group_seal(struct trace_buffer *b, unsigned i)
{
	struct payload *p = b->groups[i];
	b->groups[i] = b->groups[--b->group_cnt];
	if (p->chunks.cnt == 0) {
		b->bytes -= payload_sz(p);
		payload_free(p);
		return;
	}
	payload_trim(p);
	list_append(b, p);
}

static unsigned group_oldest(const struct trace_buffer *b)
{
	unsigned oldest = 0;
	for (unsigned i = 1; i < b->group_cnt; i++)
		if (b->groups[i]->born_ns < b->groups[oldest]->born_ns)
			oldest = i;
	return oldest;
}

void trace_buffer_seal(struct trace_buffer *b, uint64_t born_before_ns)
{
	for (unsigned i = b->group_cnt; i-- > 0;)
		if (b->groups[i]->born_ns < born_before_ns)
			group_seal(b, i);
}

uint64_t trace_buffer_oldest(const struct trace_buffer *b)
{
	return b->group_cnt ? b->groups[group_oldest(b)]->born_ns : UINT64_MAX;
}

/* --- adding ------------------------------------------------------------------------------------------------------- */

static struct payload *group_of(struct trace_buffer *b, const struct chunk *c, unsigned *ret_index)
{
	for (unsigned i = 0; i < b->group_cnt; i++) {
		if (b->groups[i]->format != b->format || !payload_is_about(b->groups[i], c->process, c->counted))
			continue;
		*ret_index = i;
		return b->groups[i];
	}
	if (b->group_cnt == TRACE_BUFFER_MAX_GROUPS)
		group_seal(b, group_oldest(b));
	struct payload *p = payload_new(c->process, c->counted, b->format);
	if (!p)
		return NULL;
	*ret_index = b->group_cnt;
	b->groups[b->group_cnt++] = p;
	return p;
}

int trace_buffer_add(struct trace_buffer *b, const struct chunk *c, uint64_t now_ns)
{
	unsigned group;
	struct payload *p = group_of(b, c, &group);
	if (!p)
		return -ENOMEM;
	size_t before = payload_sz(p);
	b->tags.links_as_tag = p->format == PAYLOAD_V05;
	b->tags.events_as_tag = p->format == PAYLOAD_V05 || !b->native_events;
	int r = payload_add(p, &b->tags, c, now_ns);
	if (r == 0 && payload_last_sz(p) > b->payload_max) {
		payload_pop(p);
		r = -E2BIG;
	}
	if (r < 0) {
		b->bytes += payload_sz(p) - before;
		return r == -ENOSPC ? -ENOMEM : r;
	}
	b->spans += c->span_cnt;
	struct payload *tail = NULL;
	/* It fits, but not together with the others. */
	if (payload_wire_sz(p) > b->payload_max && p->chunks.cnt > 1)
		tail = payload_split(p, p->chunks.cnt - 1);
	b->bytes += payload_sz(p) + (tail ? payload_sz(tail) : 0) - before;
	if (tail) {
		payload_trim(p);
		list_append(b, p);
		b->groups[group] = p = tail;
		p->born_ns = now_ns;
	}
	if (payload_wire_sz(p) >= b->payload_sz)
		group_seal(b, group);
	return 0;
}

/* --- dropping ----------------------------------------------------------------------------------------------------- */

static int buffer_lowest(const struct trace_buffer *b)
{
	int lowest = INT_MAX;
	for (const struct payload *p = b->first; p; p = p->next)
		if (!p->sent && payload_lowest(p) < lowest)
			lowest = payload_lowest(p);
	for (unsigned i = 0; i < b->group_cnt; i++)
		if (payload_lowest(b->groups[i]) < lowest)
			lowest = payload_lowest(b->groups[i]);
	return lowest;
}

static uint64_t drop_from(struct trace_buffer *b, struct payload *p, int priority, size_t want)
{
	size_t before = payload_sz(p);
	uint64_t spans = payload_drop(p, priority, want);
	b->bytes -= before - payload_sz(p);
	b->spans -= spans;
	return spans;
}

/* Spans of this priority, from the oldest payload to the newest, until `target` bytes are left. */
static uint64_t shrink_priority(struct trace_buffer *b, int priority, uint64_t target)
{
	uint64_t spans = 0;
	for (struct payload *p = b->first, *next; p && b->bytes > target; p = next) {
		next = p->next;
		if (p->sent)
			continue;
		spans += drop_from(b, p, priority, b->bytes - target);
		if (p->chunks.cnt == 0)
			trace_buffer_remove(b, p);
		else
			payload_trim(p);
	}
	for (unsigned i = b->group_cnt; i-- > 0 && b->bytes > target;) {
		struct payload *p = b->groups[i];
		spans += drop_from(b, p, priority, b->bytes - target);
		if (p->chunks.cnt == 0)
			group_seal(b, i);
		else
			payload_trim(p);
	}
	return spans;
}

uint64_t trace_buffer_shrink(struct trace_buffer *b)
{
	uint64_t spans = 0, target = b->max_sz - b->max_sz / 8;
	if (b->bytes <= b->max_sz)
		return 0;
	for (int lowest; b->bytes > target && (lowest = buffer_lowest(b)) != INT_MAX;)
		spans += shrink_priority(b, lowest, target);
	return spans;
}

/* --- changing ----------------------------------------------------------------------------------------------------- */

bool trace_buffer_halve(struct trace_buffer *b, struct payload *p)
{
	size_t before = payload_sz(p);
	struct payload *tail = p->chunks.cnt > 1 ? payload_split(p, p->chunks.cnt / 2) : NULL;
	if (!tail)
		return false;
	b->bytes += payload_sz(p) + payload_sz(tail) - before;
	tail->next = p->next;
	p->next = tail;
	if (b->last == p)
		b->last = tail;
	return true;
}

bool trace_buffer_downgrade(struct trace_buffer *b, struct payload *p)
{
	size_t before = payload_sz(p);
	if (payload_downgrade(p) < 0)
		return false;
	b->bytes += payload_sz(p) - before;
	while (payload_wire_sz(p) > b->payload_max && trace_buffer_halve(b, p))
		;
	return true;
}

void trace_buffer_release(struct trace_buffer *b)
{
	for (unsigned i = 0; i < b->group_cnt; i++)
		payload_free(b->groups[i]);
	while (b->first) {
		struct payload *p = b->first;
		b->first = p->next;
		payload_free(p);
	}
	tags_release(&b->tags);
	*b = (struct trace_buffer){0};
}
