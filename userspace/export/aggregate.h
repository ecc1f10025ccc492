/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXPORT_AGGREGATE_H
#define EXPORT_AGGREGATE_H

#include "export/dogstatsd.h"

/* Metrics gathered between two flushes, so that a call costs no message: counts add up to one value, of a gauge the last
 * value is sent, the values of histograms and distributions go together, several to a message. One thread.
 *
 * A series is a name, a type, a set of tags in one order, and a process. Beyond AGGREGATE_MAX_SERIES new ones are refused and counted;
 * those that got nothing for AGGREGATE_IDLE_FLUSHES flushes make room. Nothing is allocated for a known series but
 * the room for its values, once. */
#define AGGREGATE_MAX_SERIES   4096
#define AGGREGATE_IDLE_FLUSHES 6
/* Values of one series kept until the next flush. Of more, a random choice of as many, sent with the rate that makes
 * up for it: 4096 series of so many take 32 MiB. */
#define AGGREGATE_MAX_VALUES 1024
#define AGGREGATE_MAX_TAGS   32 /* of one series */

struct aggregate;
struct aggregate *aggregate_new(uint32_t max_series); /* 0: AGGREGATE_MAX_SERIES; NULL when out of memory */
void aggregate_free(struct aggregate *a);	      /* NULL is fine; what was not flushed is lost */

/* One value of the metric (m->values[0]); all else of `m` but the timestamp says which series. `origin` is not NULL: a reference is
 * kept. */
void aggregate_add(struct aggregate *a, const struct dogstatsd_metric *m);
/* Gives everything to the client, with the tags of its process (metric_tags()) where the series has none of that key. */
void aggregate_flush(struct aggregate *a, struct dogstatsd *d);

struct aggregate_stats {
	uint32_t series;  /* now */
	uint64_t added;	  /* values */
	uint64_t refused; /* values of series for which there was no room */
	uint64_t thinned; /* values that were left out of a random choice */
};
void aggregate_stats(const struct aggregate *a, struct aggregate_stats *ret);

/* The tags by which Datadog's tracers tell whose metric it is: service, env, version, then the process's own (DD_TAGS).
 * At most `max`; the number. Borrowed from `who`. */
unsigned metric_tags(const struct process_info *who, struct tag *ret, unsigned max);

#endif
