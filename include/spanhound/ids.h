/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef SPANHOUND_IDS_H
#define SPANHOUND_IDS_H

#include <linux/types.h>

/* splitmix64 (Steele, Lea, Flood 2014): the finaliser is a bijection of its counter, so one generator never repeats a number. */
static inline __u64 sh_mix64(__u64 z)
{
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

/* The next span id, or lower half of a trace id, of the generator whose state is *rng; never 0, which means none. */
static inline __u64 sh_next_id(__u64 *rng)
{
	__u64 z = sh_mix64(*rng += 0x9e3779b97f4a7c15ULL);
	return z ? z : 1;
}

#endif
