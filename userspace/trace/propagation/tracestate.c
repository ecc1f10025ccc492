/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <math.h>

#include "trace/propagation/style.h"

/* ddtrace internal/utils/http.py w3c_*, internal/opentelemetry/sampling.py; W3C Trace Context, 3.3. */

#define MEMBERS_MAX	 32
#define BYTES_MAX	 512
#define MEMBER_CHARS_MAX 128 /* longer ones are the first to go */
#define OT_CHARS_MAX	 256

static bool is_ours(struct sv member)
{
	return sv_starts(member, SV("dd=")) || sv_starts(member, SV("ot="));
}

static bool is_long(struct sv member)
{
	return member.len > MEMBER_CHARS_MAX && characters(member) > MEMBER_CHARS_MAX;
}

/* What a pass over all members finds out. */
struct survey {
	struct sv dd, ot; /* whole members; data NULL: none */
	unsigned others;
};

static struct survey survey(struct sv raw)
{
	struct survey found = {0};
	while (raw.data) {
		struct sv member = sv_strip(sv_split(&raw, ','));
		if (sv_starts(member, SV("dd=")))
			found.dd = member;
		else if (sv_starts(member, SV("ot=")))
			found.ot = member;
		else
			found.others += member.len > 0;
	}
	return found;
}

struct writer {
	char *out;
	size_t len;
};

static void add_member(struct writer *w, struct sv key, struct sv rest)
{
	if (w->len)
		w->out[w->len++] = ',';
	if (key.len)
		memcpy(w->out + w->len, key.data, key.len);
	if (rest.len)
		memcpy(w->out + w->len + key.len, rest.data, rest.len);
	w->len += key.len + rest.len;
}

static bool fits(const struct writer *w, size_t len)
{
	return w->len + len + (w->len > 0) <= BYTES_MAX;
}

/* Others in their order. `excess` of them have to go, the long ones first. */
static void add_others(struct writer *w, struct sv raw, unsigned excess, unsigned max)
{
	while (raw.data && max) {
		struct sv member = sv_strip(sv_split(&raw, ','));
		if (!member.len || is_ours(member))
			continue;
		bool is_too_long = is_long(member);
		if (excess && is_too_long) {
			excess--;
			continue;
		}
		max--;
		if (fits(w, member.len))
			add_member(w, SV_NULL, member);
		else if (!is_too_long)
			return;
	}
}

size_t tracestate_build(struct sv raw, const struct sv *dd, const struct sv *ot, char *out)
{
	struct survey found = survey(raw);
	struct sv dd_key = dd ? SV("dd=") : SV_NULL, ot_key = ot && ot->len ? SV("ot=") : SV_NULL;
	if (dd)
		found.dd = *dd;
	if (ot)
		found.ot = ot->len ? *ot : SV_NULL;
	struct writer w = {.out = out};
	unsigned max = MEMBERS_MAX - (found.dd.data != NULL) - (found.ot.data != NULL);
	if (found.dd.data)
		add_member(&w, dd_key, found.dd);
	if (found.ot.data) {
		if (w.len && !fits(&w, ot_key.len + found.ot.len))
			return w.len;
		add_member(&w, ot_key, found.ot);
	}
	add_others(&w, raw, found.others > max ? found.others - max : 0, max);
	return w.len;
}

struct sv tracestate_member(struct sv tracestate, struct sv key_and_equals)
{
	struct sv value = SV_NULL;
	while (tracestate.data) {
		struct sv member = sv_strip(sv_split(&tracestate, ','));
		if (sv_starts(member, key_and_equals))
			value = (struct sv){member.data + key_and_equals.len, member.len - key_and_equals.len};
	}
	return value;
}

static bool is_hex(struct sv s, size_t min, size_t max)
{
	uint64_t ignored;
	return s.len >= min && s.len <= max && hex_parse(s, &ignored);
}

static void add_field(struct writer *w, struct sv key, struct sv value)
{
	size_t len = key.len + value.len + (w->len > 0);
	if (w->len + len > OT_CHARS_MAX)
		return;
	if (w->len)
		w->out[w->len++] = ';';
	if (key.len)
		memcpy(w->out + w->len, key.data, key.len);
	memcpy(w->out + w->len + key.len, value.data, value.len);
	w->len += key.len + value.len;
}

/* Of the field "rv:..." the value, data NULL when it is another field or has no colon. */
static bool take_field(struct sv field, const char *key, struct sv *ret)
{
	if (field.len < 2 || memcmp(field.data, key, 2) != 0 || (field.len > 2 && field.data[2] != ':'))
		return false;
	*ret = field.len > 2 ? (struct sv){field.data + 3, field.len - 3} : SV_NULL;
	return true;
}

struct ot_fields ot_parse(struct sv ot)
{
	struct ot_fields f = {.all = ot};
	while (ot.data) {
		struct sv field = sv_split(&ot, ';');
		if (!take_field(field, "rv", &f.rv))
			take_field(field, "th", &f.th);
	}
	if (!is_hex(f.rv, 14, 14))
		f.rv = SV_NULL;
	if (!is_hex(f.th, 1, 14))
		f.th = SV_NULL;
	return f;
}

size_t ot_build(const struct ot_fields *f, char out[OT_ROOM])
{
	struct writer w = {.out = out};
	if (f->rv.data)
		add_field(&w, SV("rv:"), f->rv);
	if (f->th.data)
		add_field(&w, SV("th:"), f->th);
	for (struct sv rest = f->all; rest.data;) {
		struct sv field = sv_split(&rest, ';'), ignored;
		if (field.len && !take_field(field, "rv", &ignored) && !take_field(field, "th", &ignored))
			add_field(&w, SV_NULL, field);
	}
	return w.len;
}

/* --- the ot= member after a decision of ours ------------------------------------------------------------------------
 */

#define OT_MAX_THRESHOLD (UINT64_C(1) << 56) /* rejects everything: what no th can say */

/* Probability as a rejection threshold; trailing zeros of its 14 digits are left out. */
static struct sv print_threshold(uint64_t threshold, char text[17])
{
	struct sv th = {hex_print(threshold, text).data + 2, 14};
	while (th.len > 1 && th.data[th.len - 1] == '0')
		th.len--;
	return th;
}

/* The random value that, held against the threshold, gives the decision that was made: the same hash of the trace id
 * that decides in Datadog's samplers, turned around since there a small hash is kept. */
static uint64_t random_value(uint64_t trace_lo, uint64_t threshold, bool sampled)
{
	uint64_t rv = ~(trace_lo * UINT64_C(1111111111111111111)) >> 8;
	if (sampled && rv < threshold)
		return threshold;
	if (!sampled && rv >= threshold)
		return threshold ? threshold - 1 : 0;
	return rv;
}

int propagation_set_rate(struct propagation_context *ctx, struct arena *a, double rate, bool sampled)
{
	struct sv ot = tracestate_member(ctx->tracestate, SV("ot="));
	struct ot_fields f = ot_parse(ot);
	char rv[17], th[17], text[OT_ROOM];
	if (!(rate > 0)) {
		f.th = SV_NULL;
	} else if (!f.rv.data && !f.th.data && (ctx->trace_hi | ctx->trace_lo)) {
		/* Half away from zero (OTEP 235). */
		double scaled = rate >= 1 ? 0 : floor((1 - rate) * (double)OT_MAX_THRESHOLD + 0.5);
		uint64_t threshold = scaled < (double)(OT_MAX_THRESHOLD - 1) ? (uint64_t)scaled : OT_MAX_THRESHOLD - 1;
		f.rv = (struct sv){hex_print(random_value(ctx->trace_lo, threshold, sampled), rv).data + 2, 14};
		f.th = print_threshold(threshold, th);
	}
	struct sv value = {text, ot_build(&f, text)};
	if (!ot.data && !value.len)
		return 0;
	char *list = arena_alloc(a, TRACESTATE_ROOM(ctx->tracestate, 0, value.len));
	if (!list)
		return -ENOMEM;
	ctx->tracestate = (struct sv){list, tracestate_build(ctx->tracestate, NULL, &value, list)};
	return 0;
}
