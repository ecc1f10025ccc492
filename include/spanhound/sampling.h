/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef SPANHOUND_SAMPLING_H
#define SPANHOUND_SAMPLING_H

#include <linux/types.h>

/* The share of traces that all of Datadog's tracers and the Agent keep for a rate: those whose id, multiplied by this
 * number modulo 2^64, is at most rate x 2^64. One trace is so kept or dropped as a whole, whoever decides: both halves
 * and the services it passes through (dd-trace-py, ddtrace/_trace/sampling_rule.py; Agent,
 * pkg/trace/sampler/sampler.go). */
#define SH_SAMPLING_FACTOR 1111111111111111111ULL

/* A rate as the kernel half can hold it: 0 keeps none, all ones keeps all. The user half makes it
 * (sampling_threshold()). */
#define SH_SAMPLING_NONE 0ULL
#define SH_SAMPLING_ALL	 (~0ULL)

static inline __u64 sh_sampling_hash(__u64 id)
{
	return id * SH_SAMPLING_FACTOR;
}

/* `id`: the lower half of a trace id, or a span id. */
static inline int sh_sampling_keeps(__u64 id, __u64 threshold)
{
	return threshold != SH_SAMPLING_NONE && sh_sampling_hash(id) <= threshold;
}

#endif
