/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROBE_CONDITION_LEXER_H
#define PROBE_CONDITION_LEXER_H

#include "base/arena.h"
#include "probe/list_yaml.h"

/* The words of an expression; private to condition.c. */

enum condition_token_kind {
	TOKEN_END,
	TOKEN_NAME,
	TOKEN_INTEGER,
	TOKEN_TEXT, /* "..." or '...' */
	TOKEN_OPEN,
	TOKEN_CLOSE,
	TOKEN_AND,
	TOKEN_OR,
	TOKEN_NOT,
	TOKEN_COMPARE, /* op */
	TOKEN_MASK,
	TOKEN_STARTS_WITH,
	TOKEN_NULL,
	TOKEN_TRUE,
	TOKEN_FALSE,
	TOKEN_BAD, /* reported */
};

struct condition_token {
	enum condition_token_kind kind;
	size_t at;	 /* byte offset in the expression */
	struct sv raw;	 /* as written */
	uint8_t op;	 /* enum sh_op of TOKEN_COMPARE */
	bool negative;	 /* of TOKEN_INTEGER */
	uint64_t number; /* its magnitude */
	struct sv text;	 /* of TOKEN_TEXT, decoded */
};

struct condition_lexer {
	struct sv text;
	size_t at;
	const struct yaml_node *node;
	const struct yaml_source *src;
	struct arena *arena;
	bool failed; /* out of memory */
};

void condition_lexer_next(struct condition_lexer *l, struct condition_token *ret);

#endif
