/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/sampling/pattern.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

#include "base/utf8.h"

/* The lower-case character at `at` (not the end), and its length. */
static inline uint32_t lower_at(struct sv s, size_t at, size_t *ret_len)
{
	unsigned char c = (unsigned char)s.data[at];
	*ret_len = 1;
	if (c < 0x80)
		return c >= 'A' && c <= 'Z' ? c + 32u : c;
	return unicode_lower(utf8_decode((struct sv){s.data + at, s.len - at}, ret_len));
}

int pattern_init(struct pattern *p, struct arena *arena, struct sv text)
{
	if (text.len > PATTERN_MAX)
		return -E2BIG;
	struct sv copy = arena_dup(arena, text);
	if (!copy.data)
		return -ENOMEM;
	*p = (struct pattern){.text = copy, .given = true, .literal = true, .wild = text.len > 0};
	char *out = (char *)copy.data;
	for (size_t at = 0, len, n; at < text.len; at += len) {
		char bytes[4];
		uint32_t c = lower_at(text, at, &len);
		/* What has no lower case of its length, or is not UTF-8, stays as it is. */
		n = utf8_encode(c, bytes);
		if (n == len)
			memcpy(out + at, bytes, n);
		if (c == '*' || c == '?')
			p->literal = false;
		else
			p->wild = false;
	}
	return 0;
}

static bool literal_match(struct sv pattern, struct sv text)
{
	if (pattern.len != text.len)
		return false;
	for (size_t at = 0, len, pattern_len; at < text.len; at += len)
		if (lower_at(text, at, &len) != lower_at(pattern, at, &pattern_len) || len != pattern_len)
			return false;
	return true;
}

bool pattern_match(const struct pattern *p, struct sv text)
{
	struct sv pat = p->text;
	if (!p->given)
		return true;
	if (p->literal)
		return literal_match(pat, text);
	size_t in_pat = 0, in_text = 0, behind_star = 0, retry = 0;
	bool star = false;
	while (in_text < text.len) {
		size_t text_len, pat_len;
		uint32_t c = lower_at(text, in_text, &text_len);
		uint32_t want = in_pat < pat.len ? lower_at(pat, in_pat, &pat_len) : 0;
		if (in_pat < pat.len && want == '*') {
			star = true;
			behind_star = in_pat += 1;
			retry = in_text;
		} else if (in_pat < pat.len && (want == '?' || want == c)) {
			in_pat += pat_len;
			in_text += text_len;
		} else if (star) {
			lower_at(text, retry, &text_len);
			in_text = retry += text_len;
			in_pat = behind_star;
		} else {
			return false;
		}
	}
	while (in_pat < pat.len && pat.data[in_pat] == '*')
		in_pat++;
	return in_pat == pat.len;
}

bool pattern_match_number(const struct pattern *p, double value)
{
	char text[32];
	if (!p->given || p->wild)
		return true;
	if (!isfinite(value) || value != floor(value) || fabs(value) >= 1e18)
		return false;
	int n = snprintf(text, sizeof(text), "%lld", (long long)value);
	return pattern_match(p, (struct sv){text, (size_t)n});
}
