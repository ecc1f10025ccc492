/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef SPANHOUND_OPTION_H
#define SPANHOUND_OPTION_H

#include <linux/types.h>

/* A request's trace in a TCP option, on the segment in which the request begins: from one host that runs spanhound to another one.
 * Nothing of the stream changes, and who does not know the option ignores it (RFC 9293, 3.1).
 *
 *   0      kind 254, for experiments (RFC 4727)
 *   1      length, 28
 *   2..3   "SH", the experiment's number (ExID, RFC 6994). It is not registered with IANA
 *   4..6   the lower 24 bits of the TCP sequence number of the request's first byte
 *   7      low half: the sampling priority + 2, 15: none was said; high half: SH_OPTION_SURE
 *   8..11  the trace id's upper 32 bits: of the ids that Datadog's tracers make, Unix seconds
 *   12..19 its lower 64 bits. The 32 in between are 0, or it does not go into an option
 *   20..27 the id of the client span
 *
 * Numbers are in network order. A header has room for 40 bytes of options, and timestamps take 12 (RFC 7323): these are the other 28.
 *
 * A segment may be sent in pieces, each with the same options, or together with others. So the option names the byte it is for, and
 * only a request that begins exactly there is taken to be meant. Middleboxes that renumber what passes make it mean none. */

#define SH_OPTION_KIND 254
#define SH_OPTION_LEN  28
#define SH_OPTION_EXID 0x5348

/* Headers of the request's own, if any, were looked at, and are those of the caller's caller: this one knows better. Else they do. */
#define SH_OPTION_SURE	      (1 << 4)

#define SH_OPTION_NO_PRIORITY 127 /* as SH_REMOTE_NO_PRIORITY */

/* A request is known by its first four bytes: the option goes with the segment that has the last of them. */
#define SH_OPTION_BYTES 4

struct sh_option {
	__u64 trace_hi, trace_lo;
	__u64 span_id;
	__u32 at;      /* sequence number of the request's first byte */
	__s8 priority; /* -2..12, or SH_OPTION_NO_PRIORITY */
	__u8 sure;
	__u8 pad[2];
};

static inline int sh_option_fits(const struct sh_option *o)
{
	return !(__u32)o->trace_hi && o->trace_lo && o->span_id &&
	       (o->priority == SH_OPTION_NO_PRIORITY || (o->priority >= -2 && o->priority <= 12));
}

static inline void sh_option_put(__u8 *to, __u64 value, __u32 size)
{
	for (__u32 i = 0; i < size; i++)
		to[i] = (__u8)(value >> 8 * (size - 1 - i));
}

static inline __u64 sh_option_get(const __u8 *from, __u32 size)
{
	__u64 value = 0;
	for (__u32 i = 0; i < size; i++)
		value = value << 8 | from[i];
	return value;
}

/* Of one that fits. */
static inline void sh_option_write(const struct sh_option *o, __u8 to[SH_OPTION_LEN])
{
	__u32 priority = o->priority == SH_OPTION_NO_PRIORITY ? 15 : (__u32)(o->priority + 2);
	to[0] = SH_OPTION_KIND;
	to[1] = SH_OPTION_LEN;
	sh_option_put(to + 2, SH_OPTION_EXID, 2);
	sh_option_put(to + 4, o->at, 3);
	to[7] = (__u8)((priority & 15) | (o->sure ? SH_OPTION_SURE : 0));
	sh_option_put(to + 8, o->trace_hi >> 32, 4);
	sh_option_put(to + 12, o->trace_lo, 8);
	sh_option_put(to + 20, o->span_id, 8);
}

/* Of SH_OPTION_LEN bytes that came with the segment that begins at `seq`: 0 when they are none of ours. */
static inline int sh_option_read(struct sh_option *o, const __u8 from[SH_OPTION_LEN], __u32 seq)
{
	__u32 priority = from[7] & 15;
	if (from[0] != SH_OPTION_KIND || from[1] != SH_OPTION_LEN || sh_option_get(from + 2, 2) != SH_OPTION_EXID)
		return 0;
	/* The number nearest to the segment's that has these lower bits. */
	__u32 ahead = ((__u32)sh_option_get(from + 4, 3) - seq) << 8;
	o->at = seq + (__u32)((__s32)ahead >> 8);
	o->priority = (__s8)(priority == 15 ? SH_OPTION_NO_PRIORITY : (__s32)priority - 2);
	o->sure = (from[7] & SH_OPTION_SURE) != 0;
	o->pad[0] = o->pad[1] = 0;
	o->trace_hi = sh_option_get(from + 8, 4) << 32;
	o->trace_lo = sh_option_get(from + 12, 8);
	o->span_id = sh_option_get(from + 20, 8);
	return o->trace_lo && o->span_id;
}

/* Is it for a segment of [seq, end)? */
static inline int sh_option_rides(__u32 at, __u32 seq, __u32 end)
{
	__u32 last = at + SH_OPTION_BYTES - 1;
	return (__s32)(last - seq) >= 0 && (__s32)(last - end) < 0;
}

#endif
