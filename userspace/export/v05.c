/* SPDX-License-Identifier: Apache-2.0 */
#include "export/v05.h"

#include <errno.h>

#define INDEX_MAX   5
#define SPAN_FIXED  (1 + 4 * INDEX_MAX + 6 * PACKER_NUMBER_MAX + 2 * PACKER_HEAD_MAX)
#define FIRST_SLOTS 1024

/* --- strings ------------------------------------------------------------------------------------------------------ */

static inline uint64_t load(const char *from, size_t len)
{
	uint64_t w = 0;
	memcpy(&w, from, len);
	return w;
}

/* Both halves of a product, folded: every bit of either factor reaches every bit of it (wyhash's mixing step). */
static inline uint64_t fold(uint64_t a, uint64_t b)
{
	unsigned __int128 m = (unsigned __int128)a * b;
	return (uint64_t)m ^ (uint64_t)(m >> 64);
}

/* Most strings are short: up to 16 bytes are one multiplication, of two words that may overlap. */
static inline uint32_t string_hash(struct sv s)
{
	const uint64_t k0 = 0xa0761d6478bd642fULL, k1 = 0xe7037ed1a0b428dbULL;
	uint64_t a = 0, b = 0, seed = s.len * k0;
	if (s.len >= 8) {
		size_t i = 0;
		for (; i + 16 < s.len; i += 16)
			seed = fold(load(s.data + i, 8) ^ k0, load(s.data + i + 8, 8) ^ seed);
		a = load(s.data + (s.len > i + 8 ? i : s.len - 8), 8);
		b = load(s.data + s.len - 8, 8);
	} else if (s.len >= 4) {
		a = load(s.data, 4);
		b = load(s.data + s.len - 4, 4);
	} else if (s.len) {
		a = (uint64_t)(unsigned char)s.data[0] << 16 | (uint64_t)(unsigned char)s.data[s.len / 2] << 8 |
		    (unsigned char)s.data[s.len - 1];
	}
	return (uint32_t)fold(a ^ k1, b ^ seed ^ k0);
}

static inline bool same_bytes(const char *a, const char *b, size_t len)
{
	if (len >= 8) {
		uint64_t differ = load(a + len - 8, 8) ^ load(b + len - 8, 8);
		for (size_t i = 0; i + 8 < len; i += 8)
			differ |= load(a + i, 8) ^ load(b + i, 8);
		return !differ;
	}
	if (len >= 4)
		return load(a, 4) == load(b, 4) && load(a + len - 4, 4) == load(b + len - 4, 4);
	return len == 0 || (a[0] == b[0] && a[len / 2] == b[len / 2] && a[len - 1] == b[len - 1]);
}

static int strings_grow(struct v05_strings *s)
{
	uint32_t cnt = s->slot_cnt ? s->slot_cnt * 2 : FIRST_SLOTS;
	struct v05_string *slots = calloc(cnt, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	vec_foreach (e, &s->list) {
		uint32_t at = e->hash & (cnt - 1);
		while (slots[at].index)
			at = (at + 1) & (cnt - 1);
		slots[at] = *e;
	}
	free(s->slots);
	s->slots = slots;
	s->slot_cnt = cnt;
	return 0;
}

/* `v` is valid UTF-8 and not there yet; its slot is `at`. */
static int strings_add(struct v05_strings *s, struct sv v, uint32_t hash, uint32_t at)
{
	if (s->list.cnt >= V05_MAX_STRINGS || s->text.len + v.len >= V05_MAX_TEXT)
		return -ENOSPC;
	char *to = packer_reserve(&s->text, PACKER_HEAD_MAX + v.len);
	if (!to)
		return -ENOMEM;
	put_str(&to, v.len);
	struct v05_string entry = {hash, (uint32_t)v.len, (uint32_t)(to - s->text.data), (uint32_t)s->list.cnt + 1};
	if (vec_push(&s->list, entry) < 0)
		return -ENOMEM;
	if (v.len)
		memcpy(to, v.data, v.len);
	s->text.len = entry.at + v.len;
	s->slots[at] = entry;
	if (s->list.cnt * 4 > (size_t)s->slot_cnt * 3 && strings_grow(s) < 0 && s->list.cnt + 1 >= s->slot_cnt)
		return -ENOMEM; /* a full table would never end a search */
	return (int)s->list.cnt - 1;
}

static struct v05_known *known_slot(const struct v05_strings *s, struct sv v)
{
	/* Neighbours in memory are of different lengths, or apart. */
	uint64_t mixed = ((uintptr_t)v.data + v.len) * 0x9e3779b97f4a7c15ULL;
	return &s->known[mixed >> (64 - V05_KNOWN_BITS)];
}

/* The index of a string, or -errno. */
static __attribute__((noinline)) int strings_find(struct v05_strings *s, struct sv v)
{
	struct v05_known *known = known_slot(s, v);
	for (bool mended = false;; mended = true) {
		uint32_t hash = string_hash(v), at = hash & (s->slot_cnt - 1);
		for (const struct v05_string *e; (e = &s->slots[at])->index; at = (at + 1) & (s->slot_cnt - 1))
			if (e->hash == hash && e->len == v.len && same_bytes(s->text.data + e->at, v.data, v.len)) {
				if (!mended)
					*known = (struct v05_known){v.data, e->len, e->at, e->index};
				return (int)e->index - 1;
			}
		if (mended || utf8_valid(v))
			return strings_add(s, v, hash, at);
		sbuf_reset(&s->text.text);
		utf8_add_valid(&s->text.text, v);
		v = s->text.text.failed ? SV("") : sbuf_sv(&s->text.text);
	}
}

static inline int strings_index(struct v05_strings *s, struct sv v)
{
	const struct v05_known *k = known_slot(s, v);
	if (k->data == v.data && k->len == v.len && same_bytes(s->text.data + k->at, v.data, v.len) && k->index)
		return (int)k->index - 1;
	return strings_find(s, v);
}

int v05_strings_copy(struct v05_strings *to, const struct v05_strings *from)
{
	char *text = packer_reserve(&to->text, from->text.len);
	struct v05_string *list = reallocarray(NULL, from->list.cnt + 1, sizeof(*list));
	struct v05_string *slots = reallocarray(NULL, from->slot_cnt + 1, sizeof(*slots));
	if (!text || !list || !slots) {
		free(list);
		free(slots);
		v05_strings_release(to);
		return -ENOMEM;
	}
	memcpy(text, from->text.data, from->text.len);
	memcpy(list, from->list.data, from->list.cnt * sizeof(*list));
	memcpy(slots, from->slots, from->slot_cnt * sizeof(*slots));
	to->text.len = from->text.len;
	to->list.data = list;
	to->list.cnt = from->list.cnt;
	to->list.cap = from->list.cnt + 1;
	to->slots = slots;
	to->slot_cnt = from->slot_cnt;
	return 0;
}

size_t v05_strings_sz(const struct v05_strings *s)
{
	return s->text.len + s->list.cnt * sizeof(*s->list.data) + s->slot_cnt * sizeof(*s->slots);
}

void v05_strings_trim(struct v05_strings *s)
{
	packer_trim(&s->text);
	free(s->known);
	s->known = NULL;
}

void v05_strings_release(struct v05_strings *s)
{
	packer_release(&s->text);
	vec_release(&s->list);
	free(s->slots);
	free(s->known);
	*s = (struct v05_strings){0};
}

/* --- spans -------------------------------------------------------------------------------------------------------- */

/* Where strings are looked up, and what came of it: a failure is remembered. */
struct lookup {
	struct v05_strings *strings;
	int failed;
};

static char *put_index(char *at, struct lookup *l, struct sv v)
{
	int i = strings_index(l->strings, v);
	if (i < 0)
		l->failed = i;
	else
		put_uint32(&at, (uint32_t)i);
	return at;
}

static char *put_pairs(char *at, struct lookup *l, const struct tag *tags, size_t cnt)
{
	for (size_t i = 0; i < cnt; i++) {
		at = put_index(at, l, tags[i].key);
		at = put_index(at, l, tags[i].value);
	}
	return at;
}

/* Tags that many spans of a chunk have in common, as the first of them has them in the buffer. */
struct written {
	uint32_t id; /* tags.common.id; 0: nothing yet */
	size_t at, len;
};

static char *put_meta(struct packer *p, char *at, struct lookup *l, const struct tags *t, struct written *w)
{
	size_t common = t->common.id ? t->common.cnt : 0;
	put_map(&at, t->meta.cnt);
	if (common && w->id == t->common.id) {
		memcpy(at, p->data + w->at, w->len);
		at += w->len;
	} else if (common) {
		char *end = put_pairs(at, l, t->meta.data, common);
		*w = (struct written){t->common.id, (size_t)(at - p->data), (size_t)(end - at)};
		at = end;
	}
	return put_pairs(at, l, t->meta.data + common, t->meta.cnt - common);
}

static int v05_span(struct packer *p, struct v05_strings *strings, struct tags *t, struct written *w, uint32_t i)
{
	const struct chunk *c = t->chunk;
	const struct span *s = &c->spans[i];
	tags_of(t, i);
	size_t max = SPAN_FIXED + t->meta.cnt * 2 * INDEX_MAX + t->metrics.cnt * (INDEX_MAX + PACKER_NUMBER_MAX);
	struct lookup l = {strings, 0};
	char *at = packer_reserve(p, max);
	if (!at || t->failed)
		return -ENOMEM;
	put_array(&at, 12);
	at = put_index(at, &l, span_service(c, s));
	at = put_index(at, &l, s->name);
	at = put_index(at, &l, span_resource(s));
	at = pack_u64(at, c->trace_lo);
	at = pack_u64(at, s->span_id);
	at = pack_u64(at, s->parent_id);
	at = pack_i64(at, s->start_ns);
	at = pack_i64(at, s->duration_ns);
	put_uint8(&at, s->error);
	at = put_meta(p, at, &l, t, w);
	put_map(&at, t->metrics.cnt);
	vec_foreach (m, &t->metrics) {
		at = put_index(at, &l, m->key);
		put_double(&at, m->value);
	}
	at = put_index(at, &l, s->type);
	p->len = (size_t)(at - p->data);
	return l.failed;
}

static int v05_begin(struct v05_strings *strings)
{
	if (!strings->known)
		strings->known = calloc(V05_KNOWN, sizeof(*strings->known));
	if (!strings->known)
		return -ENOMEM;
	if (strings->slot_cnt)
		return 0;
	int r = strings_grow(strings);
	if (r < 0)
		return r;
	r = strings_index(strings, SV(""));
	return r < 0 ? r : 0;
}

int v05_chunk(struct packer *p, struct v05_strings *strings, struct tags *t, const struct chunk *c)
{
	size_t before = p->len;
	struct written w = {0};
	int r = v05_begin(strings);
	if (r < 0)
		return r;
	tags_start(t, c);
	char *at = packer_reserve(p, PACKER_HEAD_MAX);
	if (!at)
		return -ENOMEM;
	put_array(&at, c->span_cnt);
	p->len = (size_t)(at - p->data);
	for (uint32_t n = 0; r == 0 && n < c->span_cnt; n++)
		r = v05_span(p, strings, t, &w, tags_nth(t, n));
	if (r < 0)
		p->len = before;
	return r;
}
