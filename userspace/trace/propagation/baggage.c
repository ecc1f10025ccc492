/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/utf8.h"
#include "trace/propagation/style.h"

/* baggage: W3C Baggage, ddtrace propagation/http.py _BaggageHeader. */

#define BYTES_MAX 8192 /* ddtrace: DD_TRACE_BAGGAGE_MAX_BYTES */

static const char safe_in_key[] = "!#$&'*+-.^_`|~";
static const char safe_in_value[] = "!#$&'()*+-./:<>?@[]^_`{|}~";

static int hex_digit(char c)
{
	uint64_t n;
	char lower = c >= 'A' && c <= 'F' ? (char)(c | 0x20) : c;
	return hex_parse((struct sv){&lower, 1}, &n) ? (int)n : -1;
}

/* The bytes that a run of ASCII text with %xx stands for; what is no escape stays as it is. */
static size_t unescape(struct sv s, char *out)
{
	size_t len = 0;
	for (size_t i = 0; i < s.len; i++) {
		int high = s.data[i] == '%' && i + 2 < s.len ? hex_digit(s.data[i + 1]) : -1;
		int low = high >= 0 ? hex_digit(s.data[i + 2]) : -1;
		out[len++] = low >= 0 ? (char)(high << 4 | low) : s.data[i];
		i += low >= 0 ? 2 : 0;
	}
	return len;
}

/* How many bytes at the start of `s`, which is not well-formed there, were the beginning of a character: they become
 * one U+FFFD, as in Python and in the Unicode standard (3.9, maximal subparts). */
static size_t broken_len(struct sv s)
{
	uint8_t lead = (uint8_t)s.data[0];
	unsigned want = lead >= 0xf0 && lead <= 0xf4 ? 3 : lead >= 0xe0 && lead <= 0xef ? 2 : 0;
	uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
	uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
	size_t n = 1;
	while (n < s.len && n < want && (uint8_t)s.data[n] >= low && (uint8_t)s.data[n] <= high) {
		low = 0x80;
		high = 0xbf;
		n++;
	}
	return n;
}

static size_t add_valid(struct sv s, char *out)
{
	size_t len = 0;
	while (s.len) {
		size_t n = utf8_len(s), bad = n ? 0 : broken_len(s);
		memcpy(out + len, n ? s.data : "\xef\xbf\xbd", n ? n : 3);
		len += n ? n : 3;
		s.data += n + bad;
		s.len -= n + bad;
	}
	return len;
}

/* urllib.parse.unquote(): escapes are bytes of UTF-8, run by run of ASCII text. The result is UTF-8. */
static struct sv decode(struct arena *a, struct sv s)
{
	if (!memchr(s.data, '%', s.len) && utf8_valid(s))
		return arena_dup(a, s);
	char *out = arena_alloc(a, 3 * s.len + 1), *bytes = arena_alloc(a, s.len + 1);
	if (!out || !bytes)
		return SV_NULL;
	size_t len = 0;
	for (size_t i = 0, run; i < s.len; i = run) {
		bool ascii = (uint8_t)s.data[i] < 0x80;
		for (run = i; run < s.len && ((uint8_t)s.data[run] < 0x80) == ascii;)
			run++;
		struct sv part = {s.data + i, run - i};
		if (ascii)
			part = (struct sv){bytes, unescape(part, bytes)};
		len += add_valid(part, out + len);
	}
	return (struct sv){out, len};
}

/* 1, 0 when the header is not baggage, -ENOMEM. */
static int decode_items(struct sv header, struct arena *a, struct propagation_context *ctx)
{
	size_t total = 0;
	for (unsigned i = 0; header.data && i < PROPAGATION_BAGGAGE_MAX; i++) {
		struct sv value = sv_split(&header, ',');
		size_t size = value.len + (ctx->baggage_cnt > 0);
		struct sv key = sv_split(&value, '=');
		if (!value.data)
			return 0;
		if (total + size > BYTES_MAX)
			break;
		total += size;
		key = decode(a, sv_strip(key));
		value = decode(a, sv_strip(value));
		if (!key.data || !value.data)
			return -ENOMEM;
		if (!key.len || !value.len)
			return 0;
		tags_put(ctx->baggage, &ctx->baggage_cnt, PROPAGATION_BAGGAGE_MAX, key, value);
	}
	return 1;
}

static struct sv item(const struct propagation_context *ctx, struct sv key)
{
	for (unsigned i = 0; i < ctx->baggage_cnt; i++) {
		if (sv_eq(ctx->baggage[i].key, key))
			return ctx->baggage[i].value;
	}
	return SV_NULL;
}

static int add_tag(struct arena *a, struct propagation_context *ctx, struct sv key, struct sv value)
{
	static const char prefix[] = "baggage.";
	size_t len = sizeof(prefix) - 1 + key.len;
	char *name = arena_alloc(a, len + 1);
	if (!name)
		return -ENOMEM;
	memcpy(name, prefix, sizeof(prefix) - 1);
	memcpy(name + sizeof(prefix) - 1, key.data, key.len);
	ctx->baggage_tags[ctx->baggage_tag_cnt++] = (struct tag){{name, len}, value};
	return 0;
}

static int make_tags(const struct propagation_settings *s, struct arena *a, struct propagation_context *ctx)
{
	unsigned max = s->baggage_tag_all ? ctx->baggage_cnt : s->baggage_tag_key_cnt;
	if (!max)
		return 0;
	ctx->baggage_tags = arena_alloc(a, max * sizeof(*ctx->baggage_tags));
	int err = ctx->baggage_tags ? 0 : -ENOMEM;
	for (unsigned i = 0; !err && i < max; i++) {
		struct sv key = s->baggage_tag_all ? ctx->baggage[i].key : s->baggage_tag_keys[i];
		struct sv value = item(ctx, key);
		if (value.data)
			err = add_tag(a, ctx, key, value);
	}
	return err;
}

static int extract(const struct propagation_settings *s, const struct propagation_headers *h, struct arena *a,
		   struct propagation_context *ctx)
{
	struct sv header = h->value[PROPAGATION_HEADER_BAGGAGE];
	if (!header.len)
		return 0;
	size_t commas = 0;
	for (size_t i = 0; i < header.len; i++)
		commas += header.data[i] == ',';
	size_t max = commas + 1 < PROPAGATION_BAGGAGE_MAX ? commas + 1 : PROPAGATION_BAGGAGE_MAX;
	ctx->baggage = arena_alloc(a, max * sizeof(*ctx->baggage));
	int n = ctx->baggage ? decode_items(header, a, ctx) : -ENOMEM;
	if (n <= 0)
		ctx->baggage_cnt = 0;
	if (n <= 0 || !ctx->baggage_cnt)
		return n < 0 ? n : 0;
	int err = make_tags(s, a, ctx);
	return err ? err : 1;
}

static void add_encoded(struct sbuf *out, struct sv s, const char *safe)
{
	for (size_t i = 0; i < s.len; i++) {
		char c = s.data[i];
		bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
		if (alnum || (c && strchr(safe, c))) {
			sbuf_addc(out, c);
			continue;
		}
		sbuf_addc(out, '%');
		sbuf_addc(out, "0123456789ABCDEF"[(uint8_t)c >> 4]);
		sbuf_addc(out, "0123456789ABCDEF"[c & 15]);
	}
}

static struct sv inject(const struct propagation_settings *s, const struct propagation_context *ctx, uint64_t span_id,
			struct sbuf *out)
{
	(void)s, (void)span_id;
	if (!ctx->baggage_cnt)
		return SV_NULL;
	size_t line = out->len;
	sbuf_adds(out, "baggage: ");
	size_t first = out->len;
	for (unsigned i = 0; i < ctx->baggage_cnt && i < PROPAGATION_BAGGAGE_MAX; i++) {
		size_t start = out->len;
		if (i)
			sbuf_addc(out, ',');
		add_encoded(out, ctx->baggage[i].key, safe_in_key);
		sbuf_addc(out, '=');
		add_encoded(out, ctx->baggage[i].value, safe_in_value);
		if (out->len - first > BYTES_MAX) {
			sbuf_cut(out, start);
			break;
		}
	}
	if (out->len > first)
		sbuf_adds(out, "\r\n");
	else
		sbuf_cut(out, line);
	return SV_NULL;
}

const struct propagation_style propagation_baggage = {.extract = extract, .inject = inject};
