/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROBE_CONDITION_H
#define PROBE_CONDITION_H

#include "base/arena.h"
#include "probe/list_yaml.h"
#include "probe/values.h"

/* The expressions of `when:` and `error:`.
 *
 *	amount > 100 && (currency starts_with "EU" || !retry)
 *
 *	expression  alternatives joined by || (or "or") of comparisons joined by && (or "and"), with parentheses;
 *	            ! (or "not") negates the comparison or the parentheses behind it: !path starts_with "/health"
 *	comparison  NAME == != < <= > >= INTEGER     decimal, 0x hex, negative, 'c'; it must fit the argument's type
 *	            NAME & INTEGER                   any of these bits is set
 *	            NAME                             is not 0, not NULL, true
 *	            NAME == NULL, NAME == true       also != , also false
 *	            NAME starts_with "TEXT"          strings; TEXT with \n \t \r \0 \\ \" \' \xNN
 *	            NAME == "TEXT"                   strings, also != ; in `error:` alone
 *	NAME        an argument; in `error:` also `return`
 *
 * A comparison whose value cannot be read is false, and so is its negation.
 * `when:` runs in the kernel: at most SH_MAX_CONDS comparisons (parentheses are multiplied out first), prefixes of at
 *most SH_PREFIX_LEN bytes. `error:` runs here, on what the record holds. */

#define CONDITION_MAX_TERMS 16
#define CONDITION_MAX_TEXT  1024

/* Operators of condition_term.op that the kernel half does not have, beside enum sh_op. */
enum condition_op {
	CONDITION_TEXT_EQ = 64,
	CONDITION_TEXT_NE = 65,
	CONDITION_NO_MASK = 66, /* (value & operand) == 0 */
};

struct condition_term {
	uint8_t value;	   /* index into call_values.v */
	uint8_t type;	   /* enum sh_type it is compared as */
	uint8_t op;	   /* enum sh_op or condition_op */
	uint8_t or_before; /* opens the next alternative, as in struct sh_cond */
	uint64_t operand;
	struct sv text; /* of the operators on strings */
};

struct condition {
	const struct condition_term *terms;
	uint32_t cnt; /* 0: not given */
};

enum condition_use { CONDITION_WHEN, CONDITION_ERROR };

/* Like template_parse(). An undeclared `return` is compared as i32, or ptr against NULL, or bool against true. */
int condition_parse(struct condition *ret, enum condition_use use, struct sv text, const struct yaml_node *node,
		    const struct yaml_source *src, struct value_names *names, struct arena *arena);

/* For CONDITION_WHEN alone: spec->conds. */
void condition_to_spec(const struct condition *c, struct sh_spec *spec);

bool condition_eval(const struct condition *c, const struct call_values *values);

/* The words that cannot name an argument. */
bool condition_word_is_reserved(struct sv word);

#endif
