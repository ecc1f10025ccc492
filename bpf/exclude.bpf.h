/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef EXCLUDE_BPF_H
#define EXCLUDE_BPF_H

#include "connection.bpf.h"
#include "inject.bpf.h"
#include "remote.bpf.h"

/* Requests that go where no headers are to go: by the connection's other end, and by the Host header. Of a request that names
 * no host, or several, nobody can say that it does not go there. */

int inject_excluded(u64 sock_key);

struct exclude_try {
	struct inject_scratch *s;
};

/* `host` is lower-cased here as in the pattern: some characters that no host name has become the same. */
static __always_inline bool exclude_host(const struct inject_scratch *s, const struct sh_exclude *x)
{
	u32 len = x->len, have = s->host_len;
	u64 differs = 0;

	if (!have)
		return true;
	if (have < len || (!x->suffix && have != len))
		return false;
	u32 at = s->host_at + have - len;
	for (u32 from = 0; from < SH_MAX_HOST; from += 8) {
		if (from >= len)
			break;
		u64 word = sh_lower(sh_word(s->bytes + sh_within(at + from))) ^ sh_word(x->host + from);
		u32 left = len - from;
		differs |= left < 8 ? word & ((1ULL << (left * 8 & 63)) - 1) : word;
	}
	return !differs;
}

static long exclude_one(u32 i, void *arg)
{
	struct inject_scratch *s = ((struct exclude_try *)arg)->s;
	u32 index = i;

	if (!(s->excludes >> (i & 63)))
		return 1;
	if (!(s->excludes >> (i & 63) & 1))
		return 0;
	struct sh_exclude *x = bpf_map_lookup_elem(&excludes, &index);
	if (!x)
		return 1;
	if ((x->port && x->port != s->port) || (s->to[0] & x->mask[0]) != x->address[0] ||
	    (s->to[1] & x->mask[1]) != x->address[1] || (x->len && !exclude_host(s, x)))
		return 0;
	s->excluded = 1;
	return 1;
}

/* Where the name of the Host header is, without the port behind it, and the root's dot. */
static __always_inline void exclude_find_host(struct inject_scratch *s, const struct sh_head *h)
{
	u32 at = h->host_at, len = h->host_len;

	for (u32 i = 1; i <= 6; i++) {
		if (i > len)
			break;
		u8 c = s->bytes[sh_within(at + len - i)];
		if (c == ':') {
			len -= i;
			break;
		}
		if (c < '0' || c > '9')
			break;
	}
	if (len && s->bytes[sh_within(at + len - 1)] == '.')
		len--;
	s->host_at = at;
	s->host_len = len;
}

/* Of the head that was read. On its own: verified once. */
GLOBAL int inject_excluded(u64 sock_key)
{
	struct sock *sk = (struct sock *)sock_key;
	u32 index = REMOTE_SCRATCH_INJECT, zero = 0;
	struct inject_scratch *s = bpf_map_lookup_elem(&inject_scratch, &zero);
	struct remote_scratch *r = bpf_map_lookup_elem(&remote_scratch, &index);
	struct exclude_try try = {s};

	if (!s || !r)
		return 0;
	s->excluded = 0;
	s->port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET6) {
		BPF_CORE_READ_INTO((struct in6_addr *)s->to, sk, __sk_common.skc_v6_daddr);
	} else {
		s->to[0] = 0;
		s->to[1] = bpf_htonl(0xffff) | (u64)BPF_CORE_READ(sk, __sk_common.skc_daddr) << 32;
	}
	exclude_find_host(s, &r->head);
	bpf_loop(SH_MAX_EXCLUDES, exclude_one, &try, 0);
	return s->excluded;
}

#endif
