/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/query_obfuscator.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <errno.h>
#include <pcre2.h>
#include <stdlib.h>

/* Steps of the matcher for one search: ordinary queries stay far below; 8 KiB of the worst take a millisecond. */
#define QUERY_MAX      8192 /* bytes; longer ones are not searched, but replaced */
#define STEPS_BASE     10000
#define STEPS_PER_BYTE 200
#define HEAP_MAX_KB    1024
#define JIT_STACK_MAX  (256 * 1024)
#define MATCHES_MAX    100

struct query_obfuscator {
	int refs; /* atomic */
	pcre2_code *code;
	pcre2_match_data *match;
	pcre2_match_context *context;
	pcre2_jit_stack *stack;
	bool standard;
	uint64_t failures;
};

/* Letter case does not matter, blanks in the pattern do not count. No alternative may begin with just any byte: the
 * matcher then skips most of a query without trying. */
#define BLANK  "(?:\\s|%20)"
#define QUOTE  "(?:\"|%22)"
#define EQUALS "(?:=|%3D)"
#define COLON  "(?::|%3A)"

#define SECRET_NAME                                                                         \
	"(?: (?:(?:old|new)[-_]?)? p(?:ass)?w(?:or)?d[12]? | pass(?:[-_]?phrase)? | secret" \
	"  | (?:api|private|public|access|secret|app(?:lication)?)[-_]?key(?:[-_]?id)?"     \
	"  | token | consumer[-_]?(?:id|key|secret) | sign(?:ed|ature)? | auth(?:entication|orization)? )"

#define AFTER_NAME                      \
	"(?: " BLANK "*" EQUALS "[^&]+" \
	"  | " QUOTE BLANK "*" COLON BLANK "*" QUOTE "(?:%2[^2]|%[^2]|[^\"%])+" QUOTE " )"

#define JWT_PART  "ey[I-L][\\w-]+" EQUALS "*"

#define PEM_WORDS "(?:[a-z\\s]|%20)+PRIVATE" BLANK "KEY"

static const char standard_pattern[] =
	QUOTE "?" SECRET_NAME AFTER_NAME "| bearer" BLANK "+[a-z0-9._-]+"
	      "| token" COLON "[a-z0-9]{13}"
	      "| gh[opsu]_[0-9a-z]{36}"
	      "| (?:(?<![\\w%-])|(?<=%[0-9a-f]{2}))" JWT_PART "\\." JWT_PART "(?:\\.(?:[\\w.+/=-]|%3D|%2F|%2B)+)?"
	      "| -{5}BEGIN" PEM_WORDS "-{5}[^-]+-{5}END" PEM_WORDS "(?:-{5})?(?:\\n|%0A)?"
	      "| (?:ssh-(?:rsa|dss)|ecdsa-[a-z0-9]+-[a-z0-9]+)(?:\\s|%20|%09)+(?:[a-z0-9/.+]|%2F|%5C|%2B){100,}" EQUALS
	      "*(?:(?:\\s|%20|%09)+[a-z0-9._-]+)?";

struct sv query_obfuscator_standard(void)
{
	return (struct sv){standard_pattern, sizeof(standard_pattern) - 1};
}

/* --- what surely holds none --------------------------------------------------------------------------------------- */

/* Whatever the standard pattern finds has three of these in a row, in any letter case: each of its alternatives. */
#define THREE(a, b, c)	    ((uint32_t)(a) << 16 | (uint32_t)(b) << 8 | (uint32_t)(c))
#define EITHER_CASE(letter) [letter] = true, [(letter)-0x20] = true

static const bool begins[256] = {
	EITHER_CASE('a'), EITHER_CASE('b'), EITHER_CASE('c'), EITHER_CASE('e'), EITHER_CASE('g'),
	EITHER_CASE('k'), EITHER_CASE('p'), EITHER_CASE('s'), EITHER_CASE('t'), ['-'] = true,
};

static bool is_telling(uint32_t three)
{
	switch (three) {
	case THREE('p', 'a', 's'):
	case THREE('p', 'w', 'd'):
	case THREE('p', 'w', 'o'):
	case THREE('s', 'e', 'c'):
	case THREE('k', 'e', 'y'):
	case THREE('t', 'o', 'k'):
	case THREE('c', 'o', 'n'): /* consumer */
	case THREE('s', 'i', 'g'):
	case THREE('a', 'u', 't'):
	case THREE('b', 'e', 'a'): /* bearer */
	case THREE('g', 'h', 'o'):
	case THREE('g', 'h', 'p'):
	case THREE('g', 'h', 's'):
	case THREE('g', 'h', 'u'):
	case THREE('e', 'y', 'i'): /* JWT */
	case THREE('e', 'y', 'j'):
	case THREE('e', 'y', 'k'):
	case THREE('e', 'y', 'l'):
	case THREE('-', '-', '-'): /* PEM */
	case THREE('s', 's', 'h'):
	case THREE('e', 'c', 'd'): /* ecdsa */
		return true;
	default:
		return false;
	}
}

/* Most queries are told by that, at a tenth of the matcher's price. */
static bool may_hold_secret(struct sv query)
{
	const unsigned char *at = (const unsigned char *)query.data;
	for (size_t i = 0; i + 2 < query.len; i++)
		if (begins[at[i]] && is_telling(THREE(at[i] | 0x20, at[i + 1] | 0x20, at[i + 2] | 0x20)))
			return true;
	return false;
}

/* --- the matcher -------------------------------------------------------------------------------------------------- */

static void describe(struct sbuf *err, int code, size_t at)
{
	PCRE2_UCHAR text[256] = "";
	pcre2_get_error_message(code, text, sizeof(text));
	sbuf_addf(err, "%s at offset %zu", (const char *)text, at);
}

static void obfuscator_free(struct query_obfuscator *q)
{
	pcre2_match_data_free(q->match);
	pcre2_match_context_free(q->context);
	pcre2_jit_stack_free(q->stack);
	pcre2_code_free(q->code);
	free(q);
}

int query_obfuscator_new(struct sv pattern, struct query_obfuscator **ret, struct sbuf *err)
{
	bool standard = !pattern.data;
	int code;
	PCRE2_SIZE at;
	struct query_obfuscator *q = calloc(1, sizeof(*q));
	if (!q)
		return -ENOMEM;
	if (standard)
		pattern = (struct sv){standard_pattern, sizeof(standard_pattern) - 1};
	q->refs = 1;
	q->standard = standard;
	q->code = pcre2_compile((PCRE2_SPTR)pattern.data, pattern.len,
				PCRE2_NEVER_BACKSLASH_C | (standard ? PCRE2_CASELESS | PCRE2_EXTENDED : 0), &code, &at,
				NULL);
	if (!q->code) {
		describe(err, code, at);
		obfuscator_free(q);
		return -EINVAL;
	}
	/* Where code may not be generated at run time (PaX, SELinux execmem) the interpreter does it. */
	pcre2_jit_compile(q->code, PCRE2_JIT_COMPLETE);
	q->match = pcre2_match_data_create(1, NULL);
	q->context = pcre2_match_context_create(NULL);
	q->stack = pcre2_jit_stack_create(32 * 1024, JIT_STACK_MAX, NULL);
	if (!q->match || !q->context || !q->stack) {
		obfuscator_free(q);
		return -ENOMEM;
	}
	pcre2_jit_stack_assign(q->context, NULL, q->stack);
	pcre2_set_heap_limit(q->context, HEAP_MAX_KB);
	*ret = q;
	return 0;
}

struct query_obfuscator *query_obfuscator_ref(struct query_obfuscator *q)
{
	__atomic_fetch_add(&q->refs, 1, __ATOMIC_RELAXED);
	return q;
}

void query_obfuscator_unref(struct query_obfuscator *q)
{
	if (q && __atomic_sub_fetch(&q->refs, 1, __ATOMIC_ACQ_REL) == 0)
		obfuscator_free(q);
}

uint64_t query_obfuscator_failures(const struct query_obfuscator *q)
{
	return q->failures;
}

static void obfuscate_rest(struct query_obfuscator *q, struct sbuf *out)
{
	q->failures++;
	sbuf_adds(out, "<redacted>");
}

void query_obfuscate(struct query_obfuscator *q, struct sv query, struct sbuf *out)
{
	size_t done = 0, from = 0;
	if (query.len > QUERY_MAX) {
		obfuscate_rest(q, out);
		return;
	}
	if (q->standard && !may_hold_secret(query)) {
		sbuf_addsv(out, query);
		return;
	}
	pcre2_set_match_limit(q->context, (uint32_t)(STEPS_BASE + STEPS_PER_BYTE * query.len));
	for (unsigned matches = 0; from <= query.len; matches++) {
		/* An expression may match nothing at all; that is passed over, so that the search moves on. */
		int rc = pcre2_match(q->code, (PCRE2_SPTR)query.data, query.len, from, PCRE2_NOTEMPTY, q->match,
				     q->context);
		if (rc == PCRE2_ERROR_NOMATCH)
			break;
		const PCRE2_SIZE *at = pcre2_get_ovector_pointer(q->match);
		/* \K may put a match's beginning behind its end, or before where it was looked for. */
		if (rc < 0 || matches == MATCHES_MAX || at[0] >= at[1] || at[0] < done) {
			obfuscate_rest(q, out);
			return;
		}
		sbuf_add(out, query.data + done, at[0] - done);
		sbuf_adds(out, "<redacted>");
		done = from = at[1];
	}
	sbuf_add(out, query.data + done, query.len - done);
}
