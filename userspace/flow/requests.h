/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FLOW_REQUESTS_H
#define FLOW_REQUESTS_H

#include "base/histogram.h"
#include "trace/route.h"

/* The requests of the session by service and resource: how many resources a service may have, and the figures of each.
 * One thread, the consumer, counts; any thread may read the rows meanwhile: they are only ever added. */

#define REQUESTS_MAX_ROWS     1024 /* of 4 KiB; the requests of further ones are counted as `others` */
#define REQUESTS_MAX_SERVICES 256  /* further ones share one allowance of resources */

struct request_name {
	struct sv service, resource;
	bool server;
};

struct request_row {
	struct request_name name;
	uint64_t errors;
	struct histogram durations; /* ns; its cnt is the number of requests */
};

struct requests;
struct requests *requests_new(void);	/* NULL when out of memory */
void requests_free(struct requests *r); /* NULL is fine */

/* For resources_admit(). */
struct resources *requests_resources(struct requests *r, struct sv service);
void requests_count(struct requests *r, const struct request_name *name, bool error, uint64_t duration_ns);

/* NULL at the end. */
const struct request_row *requests_row(const struct requests *r, uint32_t i);
uint64_t requests_others(const struct requests *r);
/* Requests whose resource was one too many for their service: they are "METHOD *". */
uint64_t requests_overflow(const struct requests *r);

#endif
