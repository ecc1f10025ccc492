/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROBE_VALUES_H
#define PROBE_VALUES_H

#include <stdint.h>

#include "base/sv.h"
#include "spanhound/events.h"
#include "spanhound/spec.h"

/* The values of one call, decoded from its record: what templates show, error conditions compare and metrics carry.
 * Everything here is per call: no allocation, strings borrowed from the record. */

struct call_value {
	uint8_t type; /* enum sh_type; 0: the call has no such value */
	bool truncated;
	int32_t err; /* -errno: it could not be read; num and bytes are empty */
	union {
		uint64_t num;	 /* integers, sign- or zero-extended from their type */
		struct sv bytes; /* strings (without NUL), bytes */
	};
};

/* Index of a value: of a capture, or the return value register as it is. */
#define VALUE_RETURN SH_MAX_CAPTURES
#define VALUE_CNT    (SH_MAX_CAPTURES + 1)

struct call_values {
	struct call_value v[VALUE_CNT];
	uint64_t return_raw; /* the register of v[VALUE_RETURN], as it was */
	struct sv function;  /* what {function} shows; the caller sets it */
	struct sv exception; /* mangled type name of SH_CAPTURE_EXCEPTION, or empty */
};

/* A name that templates and conditions may use for a value. */
struct value_name {
	struct sv name;
	uint8_t index; /* into call_values.v */
	uint8_t type;  /* enum sh_type */
	bool declared; /* type was written down; an undeclared `return` is taken as i32 (C's int) */
	uint16_t max_len;
};

struct value_names {
	struct value_name names[VALUE_CNT];
	unsigned cnt;
	bool incomplete; /* some could not be read: an unknown name may be one of them, and is passed over */
	uint16_t used;	 /* bit per index: something reads it from the record */
};

/* NULL when there is none. */
const struct value_name *value_names_find(const struct value_names *names, struct sv name);

/* Decodes record `ev` of `size` bytes, made under `spec`; the return register gets type `return_type`.
 * 0; -EBADMSG when the captures are not well-formed (values before that are set, the others absent). */
int call_values_read(struct call_values *values, const struct sh_spec *spec, uint8_t return_type,
		     const struct sh_ev_call *ev, size_t size);

/* Sign- or zero-extends a register from an integer type. */
uint64_t value_extend(uint8_t type, uint64_t raw);
/* The value as a number for a metric. False: it is no number, or was not read. */
bool call_value_number(const struct call_value *v, double *ret);

/* What a value looks like to people: decimal, 0x..., true, text (invalid UTF-8 replaced), bytes in hex; cut-off text
 * ends in "…", an unreadable value is "<unreadable: EFAULT>", an absent one "<none>". At most `cap` bytes are written,
 * never part of a character; returns their number. */
size_t call_value_write(const struct call_value *v, char *dst, size_t cap);

static inline bool value_type_is_signed(uint8_t type)
{
	return type >= SH_I8 && type <= SH_I64;
}

static inline bool value_type_is_memory(uint8_t type)
{
	return type == SH_STRING || type == SH_BYTES;
}

/* As in the probe list: "i32", "string"; "?" for no type. */
const char *value_type_name(uint8_t type);
/* Bytes of an integer type, 0 for strings and bytes. */
unsigned value_type_size(uint8_t type);

#endif
