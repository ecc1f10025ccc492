/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/sampling/rates.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

#include "trace/normalize.h"
#include "trace/sampling/threshold.h"

static uint32_t key_hash(struct sv key)
{
	uint64_t h = key.len;
	for (size_t i = 0; i < key.len; i++)
		h = (h ^ (unsigned char)key.data[i]) * 0x100000001b3ULL;
	return hindex_hash(h, 0);
}

static const struct rate *rates_get(const struct rates *r, struct sv key)
{
	uint32_t hash = key_hash(key), ref;
	for (uint32_t i = hash; (ref = hindex_at(&r->by_key, &i, hash)) != HINDEX_NONE; i++)
		if (sv_eq(r->items.data[ref].key, key))
			return &r->items.data[ref];
	return NULL;
}

/* Keys of a JSON object are unique: jansson keeps the last one. */
static int rates_add(struct rates *r, const char *key, const json_t *value)
{
	double rate = json_number_value(value);
	if (!json_is_number(value) || !(rate >= 0 && rate <= 1) || r->items.cnt == RATES_MAX ||
	    strncmp(key, "service:", 8) != 0) {
		r->left_out++;
		return 0;
	}
	struct sv copy = arena_dup(&r->arena, sv_of(key));
	uint32_t i = (uint32_t)r->items.cnt;
	if (!copy.data || vec_push(&r->items, ((struct rate){copy, rate, sampling_threshold(rate)})) ||
	    hindex_put(&r->by_key, key_hash(copy), i))
		return -ENOMEM;
	return 0;
}

static int rates_fill(struct rates **ret, json_t *by_service)
{
	const char *key;
	json_t *value;
	struct rates *r = calloc(1, sizeof(*r));
	int rc = r ? 0 : -ENOMEM;
	json_object_foreach(by_service, key, value)
	{
		if (rc == 0)
			rc = rates_add(r, key, value);
	}
	if (rc < 0) {
		rates_free(r);
		return rc;
	}
	r->standard = rates_get(r, SV("service:,env:"));
	*ret = r;
	return 1;
}

int rates_parse(struct rates **ret, struct sv json, struct sbuf *err)
{
	json_error_t e;
	if (json.len > RATES_MAX_JSON) {
		sbuf_addf(err, "sampling rates of %zu bytes are more than %d", json.len, RATES_MAX_JSON);
		return -EINVAL;
	}
	json_t *root = json_loadb(json.len ? json.data : "", json.len, JSON_DECODE_INT_AS_REAL, &e);
	json_t *by_service = json_object_get(root, "rate_by_service");
	int rc = 0;
	if (!root) {
		sbuf_addf(err, "sampling rates are no JSON: line %d, column %d: %s", e.line, e.column, e.text);
		rc = -EINVAL;
	} else if (!json_is_object(root) || (by_service && !json_is_object(by_service))) {
		sbuf_adds(err, "sampling rates are not {\"rate_by_service\": {...}}");
		rc = -EINVAL;
	} else if (by_service) {
		rc = rates_fill(ret, by_service);
	}
	json_decref(root);
	return rc;
}

void rates_free(struct rates *r)
{
	if (!r)
		return;
	vec_release(&r->items);
	hindex_release(&r->by_key);
	arena_release(&r->arena);
	free(r);
}

const struct rate *rates_find(const struct rates *r, struct sv service, struct sv env, struct sbuf *key)
{
	sbuf_reset(key);
	sbuf_adds(key, "service:");
	normalize_service(key, service, SV_NULL);
	sbuf_adds(key, ",env:");
	normalize_tag_value(key, env);
	const struct rate *found = key->failed ? NULL : rates_get(r, sbuf_sv(key));
	return found ? found : r->standard;
}

int rates_box_answer(struct rates_box *b, struct sv json, struct sbuf *err)
{
	struct rates *r = NULL;
	int rc = rates_parse(&r, json, err);
	if (rc > 0)
		rates_free(__atomic_exchange_n(&b->latest, r, __ATOMIC_ACQ_REL));
	return rc;
}

struct rates *rates_box_take(struct rates_box *b)
{
	if (!__atomic_load_n(&b->latest, __ATOMIC_RELAXED))
		return NULL;
	return __atomic_exchange_n(&b->latest, NULL, __ATOMIC_ACQ_REL);
}

void rates_box_release(struct rates_box *b)
{
	rates_free(b->latest);
	*b = (struct rates_box){0};
}
