/* SPDX-License-Identifier: Apache-2.0 */
#include "probe/values.h"

#include <errno.h>

#include "base/utf8.h"

#define MARK_CUT     "…"
#define MARK_INVALID "\xef\xbf\xbd" /* U+FFFD */

const struct value_name *value_names_find(const struct value_names *names, struct sv name)
{
	for (unsigned i = 0; i < names->cnt; i++)
		if (sv_eq(names->names[i].name, name))
			return &names->names[i];
	return NULL;
}

const char *value_type_name(uint8_t type)
{
	static const char *const names[] = {
		[SH_I8] = "i8",	    [SH_I16] = "i16",	    [SH_I32] = "i32",	  [SH_I64] = "i64",   [SH_U8] = "u8",
		[SH_U16] = "u16",   [SH_U32] = "u32",	    [SH_U64] = "u64",	  [SH_BOOL] = "bool", [SH_PTR] = "ptr",
		[SH_CHAR] = "char", [SH_STRING] = "string", [SH_BYTES] = "bytes",
	};
	return type < sizeof(names) / sizeof(names[0]) && names[type] ? names[type] : "?";
}

unsigned value_type_size(uint8_t type)
{
	switch (type) {
	case SH_I8:
	case SH_U8:
	case SH_BOOL:
	case SH_CHAR:
		return 1;
	case SH_I16:
	case SH_U16:
		return 2;
	case SH_I32:
	case SH_U32:
		return 4;
	case SH_I64:
	case SH_U64:
	case SH_PTR:
		return 8;
	default:
		return 0;
	}
}

uint64_t value_extend(uint8_t type, uint64_t raw)
{
	unsigned unused = 64 - 8 * value_type_size(type);
	if (unused == 0 || unused == 64)
		return raw;
	if (value_type_is_signed(type))
		return (uint64_t)((int64_t)(raw << unused) >> unused);
	return raw << unused >> unused;
}

static void read_capture(struct call_values *values, const struct sh_capture *capture, const char *data)
{
	struct call_value *v = &values->v[capture->index];
	v->type = capture->type;
	v->truncated = capture->flags & SH_CAPTURE_TRUNCATED;
	v->err = capture->len < 0 ? capture->len : 0;
	v->bytes = SV_NULL;
	size_t len = capture->len < 0 ? 0 : (size_t)capture->len;
	if (value_type_is_memory(v->type)) {
		v->bytes = (struct sv){data, v->type == SH_STRING ? strnlen(data, len) : len};
	} else {
		uint64_t raw = 0;
		if (len >= sizeof(raw))
			memcpy(&raw, data, sizeof(raw));
		else
			memcpy(&raw, data, len);
		v->num = value_extend(v->type, raw);
	}
}

int call_values_read(struct call_values *values, const struct sh_spec *spec, uint8_t return_type,
		     const struct sh_ev_call *ev, size_t size)
{
	for (unsigned i = 0; i < VALUE_CNT; i++)
		values->v[i].type = 0;
	values->exception = SV_NULL;
	if (size < sizeof(*ev))
		return -EBADMSG;
	if (ev->hdr.flags & SH_CALL_RET) {
		uint8_t type = value_type_is_memory(return_type) ? SH_PTR : return_type;
		values->return_raw = ev->ret;
		values->v[VALUE_RETURN] = (struct call_value){.type = type, .num = value_extend(type, ev->ret)};
	}
	const char *at = (const char *)(ev + 1), *end = (const char *)ev + size;
	while ((size_t)(end - at) >= sizeof(struct sh_capture)) {
		struct sh_capture capture;
		memcpy(&capture, at, sizeof(capture));
		at += sizeof(capture);
		size_t len = capture.len < 0 ? 0 : (size_t)capture.len;
		if (len > (size_t)(end - at))
			return -EBADMSG;
		if (capture.index == SH_CAPTURE_EXCEPTION)
			values->exception = (struct sv){at, strnlen(at, len)};
		else if (capture.index >= spec->capture_cnt || capture.index >= SH_MAX_CAPTURES ||
			 capture.type != spec->captures[capture.index].type)
			return -EBADMSG;
		else
			read_capture(values, &capture, at);
		size_t padded = (len + 7) & ~(size_t)7;
		if (padded > (size_t)(end - at))
			return -EBADMSG;
		at += padded;
	}
	return 0;
}

bool call_value_number(const struct call_value *v, double *ret)
{
	if (!v->type || v->err || value_type_is_memory(v->type))
		return false;
	*ret = value_type_is_signed(v->type) ? (double)(int64_t)v->num : (double)v->num;
	return true;
}

/* --- text ----------------------------------------------------------------------------------------------------------
 */

struct writer {
	char *at;
	char *end;
};

static void put(struct writer *w, const char *data, size_t len)
{
	if (len > (size_t)(w->end - w->at)) {
		w->end = w->at; /* and nothing after it */
		return;
	}
	if (len)
		memcpy(w->at, data, len);
	w->at += len;
}

static void put_unsigned(struct writer *w, uint64_t n, bool negative)
{
	char digits[24], *at = digits + sizeof(digits);
	do
		*--at = (char)('0' + n % 10);
	while ((n /= 10) > 0);
	if (negative)
		*--at = '-';
	put(w, at, (size_t)(digits + sizeof(digits) - at));
}

static void put_hex(struct writer *w, uint64_t n)
{
	char digits[16], *at = digits + sizeof(digits);
	do
		*--at = "0123456789abcdef"[n & 15];
	while ((n >>= 4) > 0);
	put(w, "0x", 2);
	put(w, at, (size_t)(digits + sizeof(digits) - at));
}

/* The longest run of whole characters that fits. */
static void put_cut(struct writer *w, struct sv s)
{
	size_t room = (size_t)(w->end - w->at);
	if (s.len > room) {
		s.len = room;
		while (s.len && ((unsigned char)s.data[s.len] & 0xc0) == 0x80)
			s.len--;
	}
	put(w, s.data, s.len);
}

static void put_string(struct writer *w, struct sv s, bool truncated)
{
	while (s.len) {
		size_t good = utf8_valid_prefix(s);
		put_cut(w, (struct sv){s.data, good});
		s = (struct sv){s.data + good, s.len - good};
		if (!s.len)
			break;
		/* A character that was cut through at the end is part of what is missing. */
		unsigned char lead = (unsigned char)s.data[0];
		size_t whole = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
		if (truncated && lead >= 0xc2 && lead < 0xf5 && s.len < whole)
			break;
		put(w, MARK_INVALID, sizeof(MARK_INVALID) - 1);
		s = (struct sv){s.data + 1, s.len - 1};
	}
	if (truncated)
		put(w, MARK_CUT, sizeof(MARK_CUT) - 1);
}

static void put_bytes(struct writer *w, struct sv s, bool truncated)
{
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.data[i];
		char hex[2] = {"0123456789abcdef"[c >> 4], "0123456789abcdef"[c & 15]};
		put(w, hex, 2);
	}
	if (truncated)
		put(w, MARK_CUT, sizeof(MARK_CUT) - 1);
}

static void put_char(struct writer *w, unsigned char c)
{
	char plain = (char)c;
	if (c >= 0x20 && c < 0x7f)
		put(w, &plain, 1);
	else
		put_hex(w, c);
}

static void put_unreadable(struct writer *w, int err)
{
	put(w, "<unreadable: ", sizeof("<unreadable: ") - 1);
	if (err == -EFAULT)
		put(w, "EFAULT", 6);
	else
		put_unsigned(w, (uint64_t) - (int64_t)err, false);
	put(w, ">", 1);
}

size_t call_value_write(const struct call_value *v, char *dst, size_t cap)
{
	struct writer w = {dst, dst + cap};
	if (!v->type)
		put(&w, "<none>", 6);
	else if (v->err)
		put_unreadable(&w, v->err);
	else if (v->type == SH_STRING)
		put_string(&w, v->bytes, v->truncated);
	else if (v->type == SH_BYTES)
		put_bytes(&w, v->bytes, v->truncated);
	else if (v->type == SH_PTR)
		put_hex(&w, v->num);
	else if (v->type == SH_CHAR)
		put_char(&w, (unsigned char)v->num);
	else if (v->type == SH_BOOL)
		put(&w, v->num ? "true" : "false", v->num ? 4 : 5);
	else if (value_type_is_signed(v->type) && (int64_t)v->num < 0)
		put_unsigned(&w, 0 - v->num, true);
	else
		put_unsigned(&w, v->num, false);
	return (size_t)(w.at - dst);
}
