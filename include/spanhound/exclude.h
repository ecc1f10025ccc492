/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef SPANHOUND_EXCLUDE_H
#define SPANHOUND_EXCLUDE_H

#include <linux/types.h>

/* Requests into which nothing is put, by where they go: one pattern of `propagation: {exclude:}`. */

#define SH_MAX_EXCLUDES 64  /* different ones of a session: a bit of sh_process.excludes each */
#define SH_MAX_HOST	128 /* bytes of a pattern's host; a multiple of 8 */

/* All that is asked for must fit. The table's index is the bit. */
struct sh_exclude {
	__u64 address[2], mask[2]; /* destination, as IPv6 in network order (IPv4-mapped); mask 0: any */
	__u16 port;		   /* destination; 0: any */
	__u8 len;		   /* of `host`; 0: any host */
	__u8 suffix;		   /* `host` is how its name ends, not all of it */
	__u32 pad;
	__u8 host[SH_MAX_HOST]; /* of the Host header, in lower case as sh_lower() makes it; zeros behind it */
};

#endif
