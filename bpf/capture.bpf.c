/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Reading one value of the target, and comparing it. */
#include "capture.bpf.h"

/* Unused bytes of a register that holds each integer type, a hex digit per enum sh_type: no branches, which would multiply
 * the verifier's paths in every loop that reads values. */
#define UNUSED(type, bytes) ((u64)(bytes) << 4 * (type))
#define UNUSED_BYTES                                                                                       \
	(UNUSED(SH_I8, 7) | UNUSED(SH_I16, 6) | UNUSED(SH_I32, 4) | UNUSED(SH_U8, 7) | UNUSED(SH_U16, 6) | \
	 UNUSED(SH_U32, 4) | UNUSED(SH_BOOL, 7) | UNUSED(SH_CHAR, 7))

static __always_inline u64 extend(u64 v, u32 type)
{
	u32 shift = (UNUSED_BYTES >> 4 * (type & 15) & 7) * 8;
	v <<= shift;
	return type <= SH_I64 ? (u64)((s64)v >> shift) : v >> shift;
}

/* Reading faults where the page is not resident; a sleepable program may wait for it. */
static __always_inline long read_user(void *dst, u32 size, u64 addr, bool sleepable)
{
	long err = bpf_probe_read_user(dst, size, (void *)addr);
	if (err && sleepable)
		err = bpf_copy_from_user(dst, size, (void *)addr);
	return err;
}

/* The address or register value a capture starts from; 0, or -errno when a pointer on the way cannot be followed. */
static __always_inline long capture_base(struct registers *regs, const struct sh_capture_spec *cs, u64 *ret_value,
					 bool sleepable)
{
	u64 v = regs->v[cs->arg & 7];
	for (u32 i = 0; i < SH_MAX_DEREFS; i++) {
		if (i >= cs->deref_cnt)
			break;
		long err = read_user(&v, sizeof(v), v + (s64)cs->deref[i], sleepable);
		if (err)
			return err;
	}
	*ret_value = v;
	return 0;
}

static __always_inline long capture_integer(struct registers *regs, const struct sh_capture_spec *cs, u64 *ret_value,
					    bool sleepable)
{
	u64 v = 0;
	long err = capture_base(regs, cs, &v, sleepable);
	if (err)
		return err;
	if (cs->flags & SH_CAP_LOAD) {
		u64 addr = v + (s64)cs->offset;
		v = 0;
		/* Exactly the integer's bytes: one more could lie on a page that is not there. */
		switch (cs->type) {
		case SH_I8:
		case SH_U8:
		case SH_BOOL:
		case SH_CHAR:
			err = read_user(&v, 1, addr, sleepable);
			break;
		case SH_I16:
		case SH_U16:
			err = read_user(&v, 2, addr, sleepable);
			break;
		case SH_I32:
		case SH_U32:
			err = read_user(&v, 4, addr, sleepable);
			break;
		default:
			err = read_user(&v, 8, addr, sleepable);
		}
		if (err)
			return err;
	}
	*ret_value = extend(v, cs->type);
	return 0;
}

static __always_inline bool compare(u64 v, const struct sh_cond *cond, u32 type)
{
	s64 sv = v, so = cond->operand;
	bool is_signed = type <= SH_I64;
	switch (cond->op) {
	case SH_OP_EQ:
		return v == cond->operand;
	case SH_OP_NE:
		return v != cond->operand;
	case SH_OP_LT:
		return is_signed ? sv < so : v < cond->operand;
	case SH_OP_LE:
		return is_signed ? sv <= so : v <= cond->operand;
	case SH_OP_GT:
		return is_signed ? sv > so : v > cond->operand;
	case SH_OP_GE:
		return is_signed ? sv >= so : v >= cond->operand;
	case SH_OP_MASK:
		return (v & cond->operand) != 0;
	}
	return false;
}

static __always_inline bool prefix_holds(struct registers *regs, const struct sh_capture_spec *cs,
					 const struct sh_cond *cond, bool sleepable)
{
	char text[SH_PREFIX_LEN + 8] = {};
	u64 addr = 0;
	u32 len = cond->prefix_len;

	if (len > SH_PREFIX_LEN || capture_base(regs, cs, &addr, sleepable))
		return false;
	addr += (s64)cs->offset;
	if (bpf_probe_read_user_str(text, len + 1, (void *)addr) < 0) {
		char byte;
		if (!sleepable || bpf_copy_from_user(&byte, 1, (void *)addr) ||
		    bpf_probe_read_user_str(text, len + 1, (void *)addr) < 0)
			return false;
	}
	bool same = true;
	for (u32 i = 0; i < SH_PREFIX_LEN; i++)
		if (i < len && text[i] != cond->prefix[i])
			same = false;
	return same == (cond->op == SH_OP_PREFIX);
}

static __always_inline bool condition_check(struct registers *regs, struct sh_spec *spec, u32 i, bool sleepable)
{
	const struct sh_cond *cond = &spec->conds[i & (SH_MAX_CONDS - 1)];
	const struct sh_capture_spec *cs = &spec->captures[cond->capture & (SH_MAX_CAPTURES - 1)];
	u64 v = 0;

	if (cond->op >= SH_OP_PREFIX)
		return prefix_holds(regs, cs, cond, sleepable);
	if (capture_integer(regs, cs, &v, sleepable))
		return false;
	return compare(v, cond, cs->type);
}

/* Copies a string of at most `max` bytes; one byte more is read to tell a cut one from one that fits. */
static __always_inline void capture_string(struct sh_capture *cap, u64 addr, u32 max, bool sleepable)
{
	if (max > SH_MAX_STRING)
		max = SH_MAX_STRING;
	u32 room = max + 2;
	long n = bpf_probe_read_user_str(cap + 1, room, (void *)addr);
	if (n < 0 && sleepable) {
		char byte;
		u64 next_page = (addr | 4095) + 1;
		bpf_copy_from_user(&byte, 1, (void *)addr);
		if (next_page < addr + room)
			bpf_copy_from_user(&byte, 1, (void *)next_page);
		n = bpf_probe_read_user_str(cap + 1, room, (void *)addr);
	}
	if (n < 0) {
		cap->len = n;
		return;
	}
	cap->len = n ? n - 1 : 0;
	if (cap->len > (s32)max) {
		cap->len = max;
		cap->flags = SH_CAPTURE_TRUNCATED;
	}
}

static __always_inline void capture_bytes(struct sh_capture *cap, u64 addr, u32 max, u64 wanted, bool sleepable)
{
	if (max > SH_MAX_STRING)
		max = SH_MAX_STRING;
	u32 n = max;
	if (wanted < n)
		n = wanted;
	else if (wanted > n)
		cap->flags = SH_CAPTURE_TRUNCATED;
	if (n > SH_MAX_STRING)
		n = SH_MAX_STRING;
	long err = n ? read_user(cap + 1, n, addr, sleepable) : 0;
	cap->len = err ? err : (s32)n;
}

/* Appends capture `i` to the record at arena offset `off`; returns the record's new length. */
static __always_inline u32 capture_one(struct registers *regs, struct sh_arena *a, struct sh_spec *spec, u32 i, u32 off,
				       u32 len, bool sleepable)
{
	const struct sh_capture_spec *cs = &spec->captures[i & (SH_MAX_CAPTURES - 1)];

	if (len > SH_MAX_RECORD - sizeof(struct sh_capture) - SH_MAX_STRING - 8)
		return len;
	struct sh_capture *cap = (struct sh_capture *)(a->data + (off & (SH_ARENA_SZ - 1)) + len);
	cap->index = i;
	cap->type = cs->type;
	cap->flags = 0;
	if (cs->type < SH_STRING) {
		u64 v = 0;
		long err = capture_integer(regs, cs, &v, sleepable);
		*(u64 *)(cap + 1) = v;
		cap->len = err ? err : 8;
	} else {
		u64 addr = 0, wanted = cs->max_len;
		long err = capture_base(regs, cs, &addr, sleepable);
		addr += (s64)cs->offset;
		if (!err && cs->len_from)
			err = capture_integer(regs, &spec->captures[(cs->len_from - 1) & (SH_MAX_CAPTURES - 1)],
					      &wanted, sleepable);
		if (err)
			cap->len = err;
		else if (cs->type == SH_STRING)
			capture_string(cap, addr, cs->max_len, sleepable);
		else
			capture_bytes(cap, addr, cs->max_len, wanted, sleepable);
	}
	if (cap->len < 0) {
		__sync_fetch_and_add(&shared.read_faults, 1);
		return len + sizeof(*cap);
	}
	return len + sizeof(*cap) + (((u32)cap->len + 7) & 0x3f8);
}

/* One at a time for the loops below. */
int condition_holds(struct registers *regs, struct sh_spec *spec, u32 i);
GLOBAL int condition_holds(struct registers *regs, struct sh_spec *spec, u32 i)
{
	return regs && spec && condition_check(regs, spec, i, false);
}

int condition_holds_sleepable(struct registers *regs, struct sh_spec *spec, u32 i);
GLOBAL int condition_holds_sleepable(struct registers *regs, struct sh_spec *spec, u32 i)
{
	return regs && spec && condition_check(regs, spec, i, true);
}

u32 capture_read(struct registers *regs, struct sh_arena *a, struct sh_spec *spec, u32 i, u64 off_and_len);
GLOBAL u32 capture_read(struct registers *regs, struct sh_arena *a, struct sh_spec *spec, u32 i, u64 off_and_len)
{
	u32 len = off_and_len >> 32;
	return regs && a && spec ? capture_one(regs, a, spec, i, (u32)off_and_len, len, false) : len;
}

u32 capture_read_sleepable(struct registers *regs, struct sh_arena *a, struct sh_spec *spec, u32 i, u64 off_and_len);
GLOBAL u32 capture_read_sleepable(struct registers *regs, struct sh_arena *a, struct sh_spec *spec, u32 i,
				  u64 off_and_len)
{
	u32 len = off_and_len >> 32;
	return regs && a && spec ? capture_one(regs, a, spec, i, (u32)off_and_len, len, true) : len;
}

/* An integer that is a register as it is, the common case, needs no function of its own. */
static __always_inline bool is_register(const struct sh_capture_spec *cs)
{
	return cs->type < SH_STRING && !cs->deref_cnt && !(cs->flags & SH_CAP_LOAD);
}

static __always_inline bool when_check(struct registers *regs, struct sh_spec *spec, bool sleepable)
{
	bool holds = true;
	for (u32 i = 0; i < SH_MAX_CONDS; i++) {
		if (i >= spec->cond_cnt)
			break;
		const struct sh_cond *cond = &spec->conds[i];
		if (i && cond->or_before) {
			if (holds)
				return true;
			holds = true;
		}
		if (!holds)
			continue;
		holds = sleepable ? condition_holds_sleepable(regs, spec, i) : condition_holds(regs, spec, i);
	}
	return holds;
}

GLOBAL int when_holds(struct registers *regs, struct sh_spec *spec)
{
	return regs && spec && when_check(regs, spec, false);
}

GLOBAL int when_holds_sleepable(struct registers *regs, struct sh_spec *spec)
{
	return regs && spec && when_check(regs, spec, true);
}

static __always_inline u32 capture_register(struct registers *regs, struct sh_arena *a,
					    const struct sh_capture_spec *cs, u32 i, u32 off, u32 len)
{
	if (len > SH_MAX_RECORD - sizeof(struct sh_capture) - 8)
		return len;
	struct sh_capture *cap = (struct sh_capture *)(a->data + (off & (SH_ARENA_SZ - 1)) + len);
	*cap = (struct sh_capture){.index = i, .type = cs->type, .len = 8};
	*(u64 *)(cap + 1) = extend(regs->v[cs->arg & 7], cs->type);
	return len + sizeof(*cap) + 8;
}

static __always_inline u32 captures_append(struct registers *regs, struct sh_arena *a, struct sh_spec *spec,
					   u32 from_and_to, u64 off_and_len, bool sleepable)
{
	u32 from = from_and_to >> 16, to = from_and_to & 0xffff, off = off_and_len, len = off_and_len >> 32;
	for (u32 i = 0; i < SH_MAX_CAPTURES; i++) {
		const struct sh_capture_spec *cs = &spec->captures[i];
		if (i >= to)
			break;
		if (i < from || cs->flags & SH_CAP_HIDDEN)
			continue;
		if (is_register(cs))
			len = capture_register(regs, a, cs, i, off, len);
		else
			len = sleepable ? capture_read_sleepable(regs, a, spec, i, OFF_AND_LEN(off, len))
					: capture_read(regs, a, spec, i, OFF_AND_LEN(off, len));
	}
	return len;
}

GLOBAL u32 captures_read(struct registers *regs, struct sh_arena *a, struct sh_spec *spec, u32 from_and_to,
			 u64 off_and_len)
{
	u32 len = off_and_len >> 32;
	return regs && a && spec ? captures_append(regs, a, spec, from_and_to, off_and_len, false) : len;
}

GLOBAL u32 captures_read_sleepable(struct registers *regs, struct sh_arena *a, struct sh_spec *spec, u32 from_and_to,
				   u64 off_and_len)
{
	u32 len = off_and_len >> 32;
	return regs && a && spec ? captures_append(regs, a, spec, from_and_to, off_and_len, true) : len;
}
