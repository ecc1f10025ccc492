/* SPDX-License-Identifier: Apache-2.0 */
#include "flow/connections.h"

#include <stdlib.h>

#include "base/clock.h"
#include "flow/ages.h"
#include "flow/connection.h"

/* When the table is full, those go of which nothing was heard for so long: their end was lost, or, with Unix sockets,
 * not seen. */
#define IDLE_NS	    (60 * NSEC_PER_SEC)
#define SWEEP_NS    NSEC_PER_SEC
#define STASH_LIMIT (16 << 20) /* bytes; a pass over the rings brings less */
#define STASH_KEEP  (1 << 20)

/* A record that came before one that was made earlier. In the arena, until the end of the pass. */
struct stashed {
	struct stashed *next; /* by number */
	uint64_t number;
	struct sh_ev_hdr record[]; /* aligned like what it came from */
};

struct connections {
	struct connections_options options;
	struct ages numbers;
	struct hindex by_id;
	struct connection *last;  /* of the last record: they come in runs */
	struct connection *dirty; /* with stashed records */
	struct arena stash;
	size_t stash_sz;
	uint64_t next_sweep_ns;
	struct connection_shared shared;
	struct connections_stats stats;
};

struct connections *connections_new(const struct connections_options *options)
{
	struct connections *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->options = *options;
	http1_shared_init(&c->shared.http1, options->head_max, 0);
	c->shared.exchanges = options->exchanges;
	c->shared.stats = &c->stats;
	c->shared.actors = options->actors;
	/* One piece, of which memory is taken only for those in use: the first ones. */
	c->shared.slots = calloc(options->max ? options->max : 1, sizeof(struct connection));
	if (ages_init(&c->numbers, options->max) && c->shared.slots)
		return c;
	connections_free(c);
	return NULL;
}

void connections_want(struct connections *c, const struct request_settings *settings)
{
	connection_want_headers(&c->shared, settings);
}

static uint32_t id_hash(uint64_t id)
{
	return hindex_hash(id, 0);
}

static void connections_remove(struct connections *c, struct connection *n)
{
	connection_release(n);
	hindex_del(&c->by_id, id_hash(n->id), n->slot);
	ages_give(&c->numbers, n->slot);
	if (c->last == n)
		c->last = NULL;
	c->stats.open--;
	n->shared = NULL;
}

void connections_free(struct connections *c)
{
	if (!c)
		return;
	for (uint32_t i = 0; c->shared.slots && i < c->numbers.fresh; i++)
		if (c->shared.slots[i].shared)
			connections_remove(c, &c->shared.slots[i]);
	free(c->shared.slots);
	ages_release(&c->numbers);
	hindex_release(&c->by_id);
	arena_release(&c->stash);
	connection_shared_release(&c->shared);
	free(c);
}

/* --- finding and making them -------------------------------------------------------------------------------------- */

static void connections_sweep(struct connections *c, uint64_t now_ns)
{
	if (now_ns < c->next_sweep_ns)
		return;
	c->next_sweep_ns = now_ns + SWEEP_NS;
	for (uint32_t i = 0; i < c->numbers.fresh; i++) {
		struct connection *n = &c->shared.slots[i];
		if (!n->shared || n->dirty || now_ns < n->last_ns || now_ns - n->last_ns < IDLE_NS)
			continue;
		c->stats.evicted++;
		connection_torn(n, now_ns);
		connections_remove(c, n);
	}
}

static struct connection *connections_find(struct connections *c, uint64_t id)
{
	if (c->last && c->last->id == id)
		return c->last;
	uint32_t hash = id_hash(id), ref;
	for (uint32_t i = hash; (ref = hindex_at(&c->by_id, &i, hash)) != HINDEX_NONE; i++)
		if (c->shared.slots[ref].id == id)
			return c->last = &c->shared.slots[ref];
	return NULL;
}

static struct connection *connections_make(struct connections *c, uint64_t id, uint64_t now_ns)
{
	uint32_t slot = ages_take(&c->numbers);
	if (slot == AGES_NONE) {
		connections_sweep(c, now_ns);
		slot = ages_take(&c->numbers);
	}
	if (slot == AGES_NONE)
		return NULL;
	struct connection *n = &c->shared.slots[slot];
	if (hindex_put(&c->by_id, id_hash(id), slot)) {
		ages_give(&c->numbers, slot);
		return NULL;
	}
	connection_init(n, &c->shared);
	n->id = id;
	n->slot = slot;
	c->stats.open++;
	return c->last = n;
}

static struct connection *connections_get(struct connections *c, uint64_t id, uint64_t now_ns)
{
	struct connection *n = connections_find(c, id);
	n = n ? n : connections_make(c, id, now_ns);
	if (n)
		n->last_ns = now_ns;
	return n;
}

/* --- order -------------------------------------------------------------------------------------------------------- */

static bool is_request(const struct sh_ev_hdr *h)
{
	return h->kind == SH_EV_DATA && h->flags & SH_DATA_REQUEST;
}

static uint32_t record_number(const struct sh_ev_hdr *h)
{
	return h->kind == SH_EV_DATA ? ((const struct sh_ev_data *)h)->number : ((const struct sh_ev_close *)h)->number;
}

/* Those of one ring come in order, so the last place is where to look first. */
static void connection_stash(struct connection *n, struct stashed *s)
{
	struct stashed **at = &n->stash;
	if (n->stash_at && n->stash_at->number <= s->number)
		at = &n->stash_at->next;
	while (*at && (*at)->number <= s->number)
		at = &(*at)->next;
	s->next = *at;
	*at = s;
	n->stash_at = s;
}

static void connections_stash(struct connections *c, struct connection *n, const struct sh_ev_hdr *h)
{
	size_t sz = sizeof(struct stashed) + h->size;
	struct stashed *s = c->stash_sz + sz <= STASH_LIMIT ? arena_alloc(&c->stash, sz) : NULL;
	if (!s) { /* a gap, noticed at the end of the pass */
		c->stats.torn += is_request(h);
		return;
	}
	c->stash_sz += sz;
	s->number = record_number(h);
	memcpy(s->record, h, h->size);
	connection_stash(n, s);
	c->stats.reordered++;
	if (n->dirty)
		return;
	n->dirty = true;
	n->next_dirty = c->dirty;
	c->dirty = n;
}

static struct stashed *connection_unstash(struct connection *n)
{
	struct stashed *s = n->stash;
	n->stash = s->next;
	if (n->stash_at == s)
		n->stash_at = NULL;
	return s;
}

static void connections_reject(struct connections *c, const struct sh_ev_hdr *h)
{
	c->stats.malformed++;
	c->stats.torn += is_request(h);
}

static void connections_apply(struct connections *c, struct connection *n, const struct sh_ev_hdr *h, uint64_t now_ns)
{
	if (n->over) {
		connections_reject(c, h);
		return;
	}
	n->next_number = record_number(h) + 1;
	if (h->kind == SH_EV_DATA) {
		connection_data(n, (const struct sh_ev_data *)h, now_ns);
		return;
	}
	const struct sh_ev_close *e = (const void *)h;
	connection_end(n, e, now_ns);
	n->over |= e->state == SH_CONN_CLOSED;
}

static void connections_ordered(struct connections *c, const struct sh_ev_hdr *h, uint64_t conn, uint64_t now_ns)
{
	struct connection *n = connections_get(c, conn, now_ns);
	if (!n) {
		c->stats.refused += is_request(h);
		return;
	}
	uint32_t number = record_number(h);
	if (number > n->next_number) {
		connections_stash(c, n, h);
		return;
	}
	if (number < n->next_number) {
		connections_reject(c, h);
		return;
	}
	connections_apply(c, n, h, now_ns);
	while (n->stash && n->stash->number == n->next_number)
		connections_apply(c, n, connection_unstash(n)->record, now_ns);
	if (n->over && !n->dirty)
		connections_remove(c, n);
}

static bool data_is_sound(const struct sh_ev_data *e)
{
	size_t room = e->hdr.size - sizeof(*e), behind = ((size_t)e->copied + 7) & ~(size_t)7;
	if (e->copied > room || e->tail_len > SH_TAIL_LEN)
		return false;
	if (e->hdr.flags & SH_DATA_OPTION && behind + sizeof(struct sh_ev_option) > room)
		return false;
	bool nothing_passed = e->hdr.flags & (SH_DATA_END | SH_DATA_ERROR);
	return nothing_passed ? !is_request(&e->hdr) : e->copied <= e->len;
}

void connections_record(struct connections *c, const struct sh_ev_hdr *h, uint64_t now_ns)
{
	switch (h->kind) {
	case SH_EV_CONN:
		if (h->size >= sizeof(struct sh_ev_conn)) {
			struct connection *n = connections_get(c, ((const struct sh_ev_conn *)h)->conn, now_ns);
			if (n)
				connection_told(n, (const struct sh_ev_conn *)h);
			return;
		}
		break;
	case SH_EV_DATA: {
		const struct sh_ev_data *e = (const void *)h;
		if (h->size >= sizeof(*e) && data_is_sound(e)) {
			connections_ordered(c, h, e->conn, now_ns);
			return;
		}
		c->stats.torn += is_request(h);
		break;
	}
	case SH_EV_CLOSE:
		if (h->size >= sizeof(struct sh_ev_close)) {
			connections_ordered(c, h, ((const struct sh_ev_close *)h)->conn, now_ns);
			return;
		}
		break;
	}
	c->stats.malformed++;
}

static void connections_settle(struct connections *c, struct connection *n, uint64_t now_ns)
{
	while (n->stash) {
		struct stashed *s = connection_unstash(n);
		if (s->number < n->next_number) { /* twice */
			connections_reject(c, s->record);
			continue;
		}
		/* One that was not told was forgotten here, not lost on the way. */
		if (s->number != n->next_number) {
			c->stats.lost += n->told ? s->number - n->next_number : 0;
			connection_torn(n, now_ns);
		}
		connections_apply(c, n, s->record, now_ns);
	}
	n->dirty = false;
	if (n->over)
		connections_remove(c, n);
}

void connections_pass(struct connections *c, uint64_t now_ns)
{
	while (c->dirty) {
		struct connection *n = c->dirty;
		c->dirty = n->next_dirty;
		connections_settle(c, n, now_ns);
	}
	if (c->stash_sz > STASH_KEEP)
		arena_release(&c->stash);
	else if (c->stash_sz)
		arena_reset(&c->stash);
	c->stash_sz = 0;
}

void connections_flush(struct connections *c, uint64_t now_ns)
{
	connections_pass(c, now_ns);
	for (uint32_t i = 0; i < c->numbers.fresh; i++)
		if (c->shared.slots[i].shared)
			connection_unfinished(&c->shared.slots[i], now_ns);
}

void connections_stats(const struct connections *c, struct connections_stats *ret)
{
	*ret = c->stats;
}
