/* SPDX-License-Identifier: Apache-2.0 */
#include "target/containers.h"

#include <errno.h>
#include <jansson.h>
#include <pthread.h>

#include "base/arena.h"
#include "base/glob.h"

#define BUCKETS 1024

enum answer {
	WANTED, /* waits for the asker */
	ASKED,	/* the asker has it */
	KNOWN,
	UNKNOWN, /* the runtime does not have it */
	FAILED,	 /* nobody answered */
};

struct known {
	struct known *next;
	uint64_t used;
	uint64_t retry_ns;
	enum answer answer;
	char id[CONTAINER_ID_MAX + 1];
	struct sv name;
	struct tag_vec labels;
	struct arena arena;
};

struct containers {
	pthread_mutex_t lock;
	struct known *buckets[BUCKETS];
	uint64_t clock;
	uint32_t cnt;
	uint64_t evicted;
	void (*wake)(void *arg);
	void *arg;
};

struct containers *containers_new(void (*wake)(void *arg), void *arg)
{
	struct containers *t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	pthread_mutex_init(&t->lock, NULL);
	t->wake = wake;
	t->arg = arg;
	return t;
}

static void known_free(struct known *k)
{
	vec_release(&k->labels);
	arena_release(&k->arena);
	free(k);
}

void containers_free(struct containers *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < BUCKETS; i++) {
		while (t->buckets[i]) {
			struct known *k = t->buckets[i];
			t->buckets[i] = k->next;
			known_free(k);
		}
	}
	pthread_mutex_destroy(&t->lock);
	free(t);
}

static struct known **locate(struct containers *t, struct sv id)
{
	uint32_t hash = 2166136261u; /* FNV-1a */
	for (size_t i = 0; i < id.len; i++)
		hash = (hash ^ (unsigned char)id.data[i]) * 16777619u;
	struct known **at = &t->buckets[hash % BUCKETS];
	while (*at && !sv_eq(sv_of((*at)->id), id))
		at = &(*at)->next;
	return at;
}

/* The asker may hold one: that stays. */
static void evict_one(struct containers *t)
{
	struct known **oldest = NULL;
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct known **at = &t->buckets[i]; *at; at = &(*at)->next)
			if ((*at)->answer != ASKED && (!oldest || (*at)->used < (*oldest)->used))
				oldest = at;
	if (!oldest)
		return;
	struct known *k = *oldest;
	*oldest = k->next;
	known_free(k);
	t->cnt--;
	t->evicted++;
}

/* The entry when its name is known; else it is wanted from now on. Under the lock. */
static struct known *look_up(struct containers *t, struct sv id)
{
	if (!id.len || id.len > CONTAINER_ID_MAX || memchr(id.data, '/', id.len))
		return NULL;
	struct known *k = *locate(t, id);
	if (k) {
		k->used = ++t->clock;
		return k->answer == KNOWN ? k : NULL;
	}
	if (t->cnt >= CONTAINERS_MAX)
		evict_one(t);
	k = t->cnt < CONTAINERS_MAX ? calloc(1, sizeof(*k)) : NULL;
	if (!k)
		return NULL;
	struct known **at = locate(t, id); /* anew: the evicted one may have been before it */
	memcpy(k->id, id.data, id.len);
	k->used = ++t->clock;
	*at = k;
	t->cnt++;
	if (t->wake)
		t->wake(t->arg);
	return NULL;
}

bool containers_match_name(struct containers *t, struct sv id, const struct sv_vec *globs)
{
	bool matches = false;
	pthread_mutex_lock(&t->lock);
	struct known *k = look_up(t, id);
	for (size_t i = 0; k && k->name.len && !matches && i < globs->cnt; i++)
		matches = glob_match(globs->data[i], k->name);
	pthread_mutex_unlock(&t->lock);
	return matches;
}

static bool has_label(const struct known *k, const struct tag *want)
{
	for (size_t i = 0; i < k->labels.cnt; i++)
		if (sv_eq(k->labels.data[i].key, want->key))
			return glob_match(want->value, k->labels.data[i].value);
	return false;
}

bool containers_match_labels(struct containers *t, struct sv id, const struct tag_vec *labels)
{
	pthread_mutex_lock(&t->lock);
	struct known *k = look_up(t, id);
	bool matches = k != NULL;
	for (size_t i = 0; matches && i < labels->cnt; i++)
		matches = has_label(k, &labels->data[i]);
	pthread_mutex_unlock(&t->lock);
	return matches;
}

void containers_name(struct containers *t, struct sv id, struct sbuf *out)
{
	pthread_mutex_lock(&t->lock);
	struct known *k = look_up(t, id);
	if (k)
		sbuf_addsv(out, k->name);
	pthread_mutex_unlock(&t->lock);
}

/* --- the asker's side --------------------------------------------------------------------------------------------- */

bool containers_next(struct containers *t, uint64_t now_ns, char ret_id[CONTAINER_ID_MAX + 1])
{
	struct known *next = NULL;
	pthread_mutex_lock(&t->lock);
	for (size_t i = 0; !next && i < BUCKETS; i++)
		for (struct known *k = t->buckets[i]; k && !next; k = k->next)
			if (k->answer == WANTED || (k->answer == FAILED && now_ns >= k->retry_ns))
				next = k;
	if (next) {
		next->answer = ASKED;
		memcpy(ret_id, next->id, sizeof(next->id));
	}
	pthread_mutex_unlock(&t->lock);
	return next;
}

static struct sv text_of(const json_t *v)
{
	return (struct sv){json_string_value(v), json_string_length(v)};
}

/* False: memory is out. null: there are none. */
static bool read_labels(json_t *labels, struct known *k)
{
	size_t bytes = 0;
	const char *name;
	json_t *value;
	json_object_foreach(labels, name, value)
	{
		struct sv key = sv_of(name);
		bytes += key.len + json_string_length(value);
		if (!json_is_string(value) || k->labels.cnt >= CONTAINER_LABELS_MAX || bytes > CONTAINER_LABELS_BYTES)
			continue;
		struct tag label = {arena_dup(&k->arena, key), arena_dup(&k->arena, text_of(value))};
		if (!label.key.data || !label.value.data || vec_push(&k->labels, label) < 0)
			return false;
	}
	return true;
}

static bool read_container(struct sv text, struct known *k)
{
	json_t *root = text.len ? json_loadb(text.data, text.len, JSON_DECODE_INT_AS_REAL, NULL) : NULL;
	struct sv name = text_of(json_object_get(root, "Name"));
	if (name.len && name.data[0] == '/')
		name = (struct sv){name.data + 1, name.len - 1};
	if (name.len > CONTAINER_NAME_MAX)
		name.len = CONTAINER_NAME_MAX;
	k->name = name.len ? arena_dup(&k->arena, name) : SV_NULL;
	bool good = read_labels(json_object_get(json_object_get(root, "Config"), "Labels"), k);
	json_decref(root);
	return good && (k->name.len || k->labels.cnt);
}

int containers_answer(struct containers *t, const char *id, struct sv json)
{
	struct known read = {0};
	bool good = read_container(json, &read);
	pthread_mutex_lock(&t->lock);
	struct known *k = *locate(t, sv_of(id));
	if (k && k->answer == ASKED) {
		k->answer = good ? KNOWN : UNKNOWN;
		if (good) {
			k->name = read.name;
			k->labels = read.labels;
			k->arena = read.arena;
			read.labels = (struct tag_vec){0};
			read.arena = (struct arena){0};
		}
	}
	pthread_mutex_unlock(&t->lock);
	vec_release(&read.labels);
	arena_release(&read.arena);
	return good ? 0 : -EBADMSG;
}

void containers_no_answer(struct containers *t, const char *id, bool unknown, uint64_t now_ns)
{
	pthread_mutex_lock(&t->lock);
	struct known *k = *locate(t, sv_of(id));
	if (k && k->answer == ASKED) {
		k->answer = unknown ? UNKNOWN : FAILED;
		k->retry_ns = now_ns + CONTAINERS_RETRY_NS;
	}
	pthread_mutex_unlock(&t->lock);
}

void containers_stats(struct containers *t, struct containers_stats *ret)
{
	*ret = (struct containers_stats){0};
	pthread_mutex_lock(&t->lock);
	for (size_t i = 0; i < BUCKETS; i++) {
		for (struct known *k = t->buckets[i]; k; k = k->next) {
			ret->known += k->answer == KNOWN;
			ret->wanted += k->answer == WANTED;
			ret->asked += k->answer == ASKED;
		}
	}
	ret->evicted = t->evicted;
	pthread_mutex_unlock(&t->lock);
}
