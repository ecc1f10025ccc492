/* SPDX-License-Identifier: Apache-2.0 */
#include "flow/requests.h"

#include <stdlib.h>

#include "trace/hindex.h"

struct service {
	struct sv name;
	struct resources resources;
};

struct requests {
	struct service services[REQUESTS_MAX_SERVICES];
	uint32_t service_cnt;
	struct request_row *rows[REQUESTS_MAX_ROWS];
	uint32_t row_cnt; /* written last: a row is complete when it is counted */
	struct hindex by_name;
	struct request_row *last[2]; /* that was found, of a client and of a server: many in a row are of one name */
	struct arena arena;
	uint64_t others;
};

struct requests *requests_new(void)
{
	return calloc(1, sizeof(struct requests));
}

void requests_free(struct requests *r)
{
	if (!r)
		return;
	for (uint32_t i = 0; i < r->service_cnt; i++)
		resources_release(&r->services[i].resources);
	for (uint32_t i = 0; i < r->row_cnt; i++)
		free(r->rows[i]);
	hindex_release(&r->by_name);
	arena_release(&r->arena);
	free(r);
}

struct resources *requests_resources(struct requests *r, struct sv service)
{
	for (uint32_t i = 0; i < r->service_cnt; i++)
		if (sv_eq(r->services[i].name, service))
			return &r->services[i].resources;
	if (r->service_cnt == REQUESTS_MAX_SERVICES)
		return &r->services[REQUESTS_MAX_SERVICES - 1].resources;
	struct service *s = &r->services[r->service_cnt++];
	s->name = arena_dup(&r->arena, service);
	return &s->resources;
}

static uint32_t name_hash(const struct request_name *name)
{
	return hindex_hash(hindex_text(hindex_text(name->server, name->service), name->resource), 0);
}

static struct request_row *row_add(struct requests *r, uint32_t hash, const struct request_name *name)
{
	struct request_row *row = r->row_cnt < REQUESTS_MAX_ROWS ? calloc(1, sizeof(*row)) : NULL;
	if (!row)
		return NULL;
	row->name.service = arena_dup(&r->arena, name->service);
	row->name.resource = arena_dup(&r->arena, name->resource);
	row->name.server = name->server;
	if (!row->name.service.data || !row->name.resource.data || hindex_put(&r->by_name, hash, r->row_cnt)) {
		free(row);
		return NULL;
	}
	r->rows[r->row_cnt] = row;
	__atomic_store_n(&r->row_cnt, r->row_cnt + 1, __ATOMIC_RELEASE);
	return row;
}

static bool name_is(const struct request_name *a, const struct request_name *b)
{
	return a->server == b->server && sv_eq(a->service, b->service) && sv_eq(a->resource, b->resource);
}

static struct request_row *row_get(struct requests *r, const struct request_name *name)
{
	struct request_row **last = &r->last[name->server];
	if (*last && name_is(&(*last)->name, name))
		return *last;
	uint32_t hash = name_hash(name), ref;
	for (uint32_t i = hash; (ref = hindex_at(&r->by_name, &i, hash)) != HINDEX_NONE; i++)
		if (name_is(&r->rows[ref]->name, name))
			return *last = r->rows[ref];
	return row_add(r, hash, name);
}

void requests_count(struct requests *r, const struct request_name *name, bool error, uint64_t duration_ns)
{
	struct request_row *row = row_get(r, name);
	if (!row) {
		r->others++;
		return;
	}
	row->errors += error;
	histogram_add(&row->durations, duration_ns);
}

const struct request_row *requests_row(const struct requests *r, uint32_t i)
{
	return i < __atomic_load_n(&r->row_cnt, __ATOMIC_ACQUIRE) ? r->rows[i] : NULL;
}

uint64_t requests_others(const struct requests *r)
{
	return r->others;
}

uint64_t requests_overflow(const struct requests *r)
{
	uint64_t sum = 0;
	for (uint32_t i = 0; i < REQUESTS_MAX_SERVICES; i++)
		sum += r->services[i].resources.overflow;
	return sum;
}
