/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef COMPOSE_BPF_H
#define COMPOSE_BPF_H

#include "exchange.bpf.h"
#include "inject.bpf.h"
#include "remote.bpf.h"

/* The headers that are written, in the words and the order of trace/propagation/ (its propagation_inject(), for the same
 * context): baggage, datadog, b3multi, b3, tracecontext. And the decision about the trace, where none was made before. */

/* Each a global function: verified once, on its own, whatever is around it. */
int compose_recall(u64 key, u32 flags);
int compose_decide(u64 key, u32 root);
int compose_baggage(u32 process);
int compose_datadog(u32 process, u64 id);
int compose_b3multi(u32 process, u64 id);
int compose_b3(u32 process, u64 id);
int compose_parent(u32 process, u64 id);
int compose_state(u32 process, u64 id);

static __always_inline struct inject_scratch *scratch_get(void)
{
	u32 zero = 0;
	return bpf_map_lookup_elem(&inject_scratch, &zero);
}

/* --- the decision ------------------------------------------------------------------------------------------------- */

/* Of those that a rule keeps: is it one too many? */
static __always_inline bool rates_allow(struct sh_rates *r)
{
	u64 now_ns = bpf_ktime_get_ns();
	if (r->limit == SH_NO_LIMIT)
		return true;
	if (now_ns - r->began_ns >= 1000000000ULL) {
		r->began_ns = now_ns;
		r->used = 0;
	}
	return __sync_fetch_and_add(&r->used, 1) < r->limit;
}

/* Of the trace in s->remote, by the rates of the process. */
static __always_inline bool decide(struct inject_scratch *s, struct sh_rates *r, u32 root)
{
	u32 set = r->set;
	struct sh_decision *d = &s->decision;
	if (!set)
		return false;
	d->choice = r->choices[(set - 1) & 1][root & 3];
	bool keep = sh_sampling_keeps(s->remote.trace_lo, d->choice.threshold);
	d->by = d->choice.by | SH_BY_US;
	if (!(d->by & SH_BY_RULE)) {
		d->priority = keep;
		return true;
	}
	if (keep) {
		d->by |= SH_BY_LIMIT;
		keep = rates_allow(r);
		if (!keep) /* no matter of probability */
			d->choice.th_len = 0;
	}
	d->priority = keep ? 2 : -1;
	return true;
}

/* Into s->decision and s->remote.priority, once for each trace. `key`: trace_lo as this half began it. */
GLOBAL int compose_decide(u64 key, u32 root)
{
	struct inject_scratch *s = scratch_get();
	u64 id = key;
	if (!s)
		return 0;
	u32 index = s->rates;
	struct sh_decision *known = bpf_map_lookup_elem(&decisions, &id);
	if (!known) {
		struct sh_rates *r = bpf_map_lookup_elem(&rates, &index);
		if (!r || !decide(s, r, root))
			return 0;
		/* Another thread may have been faster. */
		if (bpf_map_update_elem(&decisions, &id, &s->decision, BPF_NOEXIST))
			known = bpf_map_lookup_elem(&decisions, &id);
	}
	if (known)
		s->decision = *known;
	s->remote.priority = s->decision.priority;
	return 0;
}

/* --- pieces ------------------------------------------------------------------------------------------------------- */

/* `len` is known to the compiler: words, and the bytes that are left. */
static __always_inline void block_add(struct inject_scratch *s, const char *text, u32 len)
{
	u32 at = s->block_len, i = 0;
	AT_MOST_AGAIN(at, INJECT_BLOCK_MAX);
#pragma unroll
	for (; i + 8 <= len; i += 8)
		*(u64 *)(s->block + at + i) = sh_word((const u8 *)text + i);
#pragma unroll
	for (; i < len; i++)
		s->block[at + i] = text[i];
	s->block_len = at + len;
}

#define block_text(s, text) block_add((s), (text), sizeof(text) - 1)

/* Of a map's value; `max` at most 512. */
static __always_inline void block_copy(struct inject_scratch *s, const void *text, u32 len, u32 max)
{
	u32 at = s->block_len;
	AT_MOST_AGAIN(at, INJECT_BLOCK_MAX);
	AT_MOST_AGAIN(len, max);
	bpf_probe_read_kernel(s->block + at, len, text);
	s->block_len = at + len;
}

static __always_inline void block_hex(struct inject_scratch *s, u64 value)
{
	u32 at = s->block_len;
	AT_MOST_AGAIN(at, INJECT_BLOCK_MAX);
	*(u64 *)(s->block + at) = sh_hex_print8(value >> 32);
	*(u64 *)(s->block + at + 8) = sh_hex_print8(value);
	s->block_len = at + 16;
}

/* The eight digits of n, below 10^8, as they are to lie in memory. All of them at once, and divisions by constants are
 * multiplications, exact for what comes in: one digit at a time costs ten times as much. */
static __always_inline u64 decimal_print8(u64 n)
{
	u64 high = n * 109951163 >> 40; /* n / 10,000 */
	u64 fours = high | (n - high * 10000) << 32;
	u64 hundreds = fours * 10486 >> 20 & 0x0000007f0000007fULL;
	u64 twos = hundreds | (fours - hundreds * 100) << 16;
	u64 tens = twos * 103 >> 10 & 0x000f000f000f000fULL;
	return (tens | (twos - tens * 10) << 8) + SH_EACH('0');
}

#define DECIMAL_LEN 24 /* digits, the first four of which are zeros */

static __always_inline void block_decimal(struct inject_scratch *s, u64 value)
{
	u32 at = s->block_len, skip = 4;
	u64 high = value / 100000000, highest = high / 100000000;
	u64 *digits = (u64 *)s->digits;
	digits[0] = decimal_print8(highest);
	digits[1] = decimal_print8(high - highest * 100000000);
	digits[2] = decimal_print8(value - high * 100000000);
	for (; skip < DECIMAL_LEN - 1; skip++)
		if (s->digits[skip] != '0')
			break;
	AT_MOST_AGAIN(at, INJECT_BLOCK_MAX);
	AT_MOST_AGAIN(skip, DECIMAL_LEN - 1);
	const u8 *from = s->digits + skip;
	*(u64 *)(s->block + at) = *(u64 *)from;
	*(u64 *)(s->block + at + 8) = *(u64 *)(from + 8);
	*(u32 *)(s->block + at + 16) = *(u32 *)(from + 16);
	s->block_len = at + DECIMAL_LEN - skip;
}

static __always_inline void block_priority(struct inject_scratch *s)
{
	__s8 priority = s->remote.priority;
	char text[] = "-0";
	text[1] = '0' + (priority < 0 ? -priority : priority);
	if (priority < 0)
		block_add(s, text, 2);
	else
		block_add(s, text + 1, 1);
}

/* --- styles ------------------------------------------------------------------------------------------------------- */

GLOBAL int compose_baggage(u32 process)
{
	struct inject_scratch *s = scratch_get();
	if (!s || !(process & SH_PROCESS_INJECT_BAGGAGE) || !s->carried.baggage_len)
		return 0;
	block_text(s, "baggage: ");
	block_copy(s, s->carried.baggage, s->carried.baggage_len, SH_CARRY_BAGGAGE);
	block_text(s, "\r\n");
	return 0;
}

/* Those that came along, who decided, and the upper half of the trace id, each behind the one before it. */
static __always_inline void block_tags(struct inject_scratch *s)
{
	u32 before;
	if (!s->carried.tags_len && !s->decision.by && !s->remote.trace_hi)
		return;
	block_text(s, "x-datadog-tags: ");
	before = s->block_len;
	if (s->carried.tags_len)
		block_copy(s, s->carried.tags, s->carried.tags_len, SH_CARRY_TAGS);
	if (s->decision.by) {
		if (s->block_len != before)
			block_text(s, ",");
		block_text(s, "_dd.p.dm=");
		block_copy(s, s->decision.choice.dm, s->decision.choice.dm_len, sizeof(s->decision.choice.dm));
	}
	if (s->remote.trace_hi) {
		if (s->block_len != before)
			block_text(s, ",");
		block_text(s, "_dd.p.tid=");
		block_hex(s, s->remote.trace_hi);
	}
	block_text(s, "\r\n");
}

GLOBAL int compose_datadog(u32 process, u64 id)
{
	struct inject_scratch *s = scratch_get();
	if (!s || !(process & SH_PROCESS_INJECT_DATADOG))
		return 0;
	block_text(s, "x-datadog-trace-id: ");
	block_decimal(s, s->remote.trace_lo);
	block_text(s, "\r\nx-datadog-parent-id: ");
	block_decimal(s, id);
	if (s->remote.priority != SH_REMOTE_NO_PRIORITY) {
		block_text(s, "\r\nx-datadog-sampling-priority: ");
		block_priority(s);
	}
	if (s->carried.origin_len) {
		block_text(s, "\r\nx-datadog-origin: ");
		block_copy(s, s->carried.origin, s->carried.origin_len, SH_CARRY_ORIGIN);
	}
	block_text(s, "\r\n");
	block_tags(s);
	return 0;
}

/* The decision as B3 says it; 0: there is none. */
static __always_inline char b3_state(const struct inject_scratch *s)
{
	__s8 priority = s->remote.priority;
	return priority == SH_REMOTE_NO_PRIORITY ? 0 : priority > 1 ? 'd' : priority == 1 ? '1' : '0';
}

GLOBAL int compose_b3multi(u32 process, u64 id)
{
	struct inject_scratch *s = scratch_get();
	if (!s || !(process & SH_PROCESS_INJECT_B3MULTI))
		return 0;
	block_text(s, "x-b3-traceid: ");
	if (s->remote.trace_hi)
		block_hex(s, s->remote.trace_hi);
	block_hex(s, s->remote.trace_lo);
	block_text(s, "\r\nx-b3-spanid: ");
	block_hex(s, id);
	char state = b3_state(s);
	if (state == 'd') {
		block_text(s, "\r\nx-b3-flags: 1");
	} else if (state) {
		block_text(s, "\r\nx-b3-sampled: ");
		block_add(s, &state, 1);
	}
	block_text(s, "\r\n");
	return 0;
}

GLOBAL int compose_b3(u32 process, u64 id)
{
	struct inject_scratch *s = scratch_get();
	if (!s || !(process & SH_PROCESS_INJECT_B3))
		return 0;
	block_text(s, "b3: ");
	if (s->remote.trace_hi)
		block_hex(s, s->remote.trace_hi);
	block_hex(s, s->remote.trace_lo);
	block_text(s, "-");
	block_hex(s, id);
	char state = b3_state(s);
	if (state) {
		block_text(s, "-");
		block_add(s, &state, 1);
	}
	block_text(s, "\r\n");
	return 0;
}

GLOBAL int compose_parent(u32 process, u64 id)
{
	struct inject_scratch *s = scratch_get();
	if (!s || !(process & SH_PROCESS_INJECT_TRACECONTEXT))
		return 0;
	const struct sh_remote *r = &s->remote;
	char flags[] = "-00\r\n";
	bool sampled = r->priority == SH_REMOTE_NO_PRIORITY ? r->sampled : r->priority > 0;
	flags[2] = '0' + ((r->flags & 2) | sampled);
	block_text(s, "traceparent: 00-");
	block_hex(s, r->trace_hi);
	block_hex(s, r->trace_lo);
	block_text(s, "-");
	block_hex(s, id);
	block_add(s, flags, 5);
	return 0;
}

/* Our member. */
static __always_inline void block_dd(struct inject_scratch *s, u32 process, u64 id)
{
	block_text(s, "tracestate: dd=p:");
	block_hex(s, id);
	if (s->remote.priority != SH_REMOTE_NO_PRIORITY) {
		block_text(s, ";s:");
		block_priority(s);
	}
	if (s->carried.origin_len) {
		block_text(s, ";o:");
		block_copy(s, s->carried.origin, s->carried.origin_len, SH_CARRY_ORIGIN);
	}
	if (s->carried.items_len) {
		block_text(s, ";");
		block_copy(s, s->carried.items, s->carried.items_len, SH_CARRY_ITEMS);
	}
	if (s->decision.by) {
		block_text(s, ";t.dm:");
		block_copy(s, s->decision.choice.dm, s->decision.choice.dm_len, sizeof(s->decision.choice.dm));
	}
	/* Datadog's headers need the id's upper half as a tag, and only then is it one. */
	if (s->remote.trace_hi && process & SH_PROCESS_INJECT_DATADOG) {
		block_text(s, ";t.tid:");
		block_hex(s, s->remote.trace_hi);
	}
}

/* OpenTelemetry's, of a decision that was ours and a matter of probability. */
static __always_inline void block_ot(struct inject_scratch *s)
{
	const struct sh_choice *c = &s->decision.choice;
	u64 random = sh_sampling_random(s->remote.trace_lo, c->ot_threshold, s->decision.priority > 0);
	block_text(s, ",ot=rv:");
	/* Fourteen digits. */
	block_hex(s, random << 8);
	s->block_len -= 2;
	block_text(s, ";th:");
	block_copy(s, c->th, c->th_len, sizeof(c->th));
}

GLOBAL int compose_state(u32 process, u64 id)
{
	struct inject_scratch *s = scratch_get();
	if (!s || !(process & SH_PROCESS_INJECT_TRACECONTEXT))
		return 0;
	block_dd(s, process, id);
	/* Others may have one among theirs already. */
	if (s->decision.by && s->decision.choice.th_len && !s->carried.state_len)
		block_ot(s);
	if (s->carried.state_len) {
		block_text(s, ",");
		block_copy(s, s->carried.state, s->carried.state_len, SH_CARRY_STATE);
	}
	block_text(s, "\r\n");
	return 0;
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

static __always_inline void left_out(u32 reason)
{
	__sync_fetch_and_add(&shared.injects[reason & (SH_INJECTS - 1)], 1);
}

/* What the request that caused this one said beyond ids, into s->carried. */
GLOBAL int compose_recall(u64 key, u32 process)
{
	struct inject_scratch *s = scratch_get();
	u64 id = key;
	if (!s)
		return 0;
	struct sh_carried *known = bpf_map_lookup_elem(&carried, &id);
	if (known) {
		bpf_probe_read_kernel(&s->carried, sizeof(s->carried), known);
	} else {
		s->carried.tags_len = s->carried.items_len = s->carried.origin_len = 0;
		s->carried.state_len = s->carried.baggage_len = 0;
		s->carried.left = s->carried.has_dm = 0;
		if (s->remote.carries)
			left_out(SH_INJECT_no_carried);
		return 0;
	}
	u32 left = s->carried.left;
	bool datadog = process & SH_PROCESS_INJECT_DATADOG, w3c = process & SH_PROCESS_INJECT_TRACECONTEXT;
	if (left & SH_LEFT_TAGS && (datadog || w3c))
		left_out(SH_INJECT_no_tags);
	if (left & SH_LEFT_ORIGIN && (datadog || w3c))
		left_out(SH_INJECT_no_origin);
	if (left & SH_LEFT_STATE && w3c)
		left_out(SH_INJECT_no_state);
	if (left & SH_LEFT_BAGGAGE && process & SH_PROCESS_INJECT_BAGGAGE)
		left_out(SH_INJECT_no_baggage);
	return 0;
}

/* The block for conn's exchange, in the trace of s->remote. `own_baggage`: the program sends some itself, or something that
 * is no better. */
static __always_inline void compose_block(struct inject_scratch *s, struct sh_conn *conn, u32 process, u32 own_baggage)
{
	u64 key = conn->self.trace_lo, id = conn->self.span_id;
	s->block_len = 0;
	s->decision.by = 0;
	compose_recall(key, process);
	if (s->remote.priority == SH_REMOTE_NO_PRIORITY) {
		compose_decide(key, root_of(conn, process));
		if (s->decision.by && s->carried.has_dm) /* somebody else's word for it */
			s->carried.tags_len = s->carried.items_len = 0;
	}
	if (!own_baggage)
		compose_baggage(process);
	compose_datadog(process, id);
	compose_b3multi(process, id);
	compose_b3(process, id);
	compose_parent(process, id);
	compose_state(process, id);
}

#endif
