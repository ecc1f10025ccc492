/* SPDX-License-Identifier: Apache-2.0 */
#include "probe/condition.h"

#include <errno.h>

#include "base/nearest.h"
#include "probe/condition_lexer.h"

#define MAX_NODES 64
#define MAX_DEPTH 16

enum node_kind { NODE_TERM, NODE_AND, NODE_OR };

struct node {
	enum node_kind kind;
	int left, right;
	struct condition_term term;
};

struct condition_parser {
	struct condition_lexer lexer;
	struct condition_token token;
	enum condition_use use;
	struct value_names *names;
	struct node nodes[MAX_NODES];
	int node_cnt;
	int depth;
	bool wrong; /* a mistake that does not stop the reading */
	bool stuck; /* one that does */
};

#define term_error(p, at, ...)                                                   \
	do {                                                                     \
		(p)->wrong = true;                                               \
		yaml_error_at((p)->lexer.src, (p)->lexer.node, at, __VA_ARGS__); \
	} while (0)

static void advance(struct condition_parser *p)
{
	condition_lexer_next(&p->lexer, &p->token);
	if (p->token.kind == TOKEN_BAD)
		p->stuck = true;
}

static int stuck(struct condition_parser *p, const char *expected)
{
	if (!p->stuck && p->token.kind == TOKEN_END)
		term_error(p, p->token.at, "expected %s, found the end of the condition", expected);
	else if (!p->stuck)
		term_error(p, p->token.at, "expected %s, found '" SV_FMT "'", expected, SV_ARG(p->token.raw));
	p->stuck = true;
	return -1;
}

static int new_node(struct condition_parser *p, struct node node)
{
	if (p->stuck)
		return -1;
	if (p->node_cnt == MAX_NODES) {
		term_error(p, p->token.at, "a condition of too many parts");
		p->stuck = true;
		return -1;
	}
	p->nodes[p->node_cnt] = node;
	return p->node_cnt++;
}

/* --- one comparison ------------------------------------------------------------------------------------------------
 */

static uint8_t negated_op(uint8_t op)
{
	static const uint8_t pairs[][2] = {
		{SH_OP_EQ, SH_OP_NE},
		{SH_OP_LT, SH_OP_GE},
		{SH_OP_LE, SH_OP_GT},
		{SH_OP_PREFIX, SH_OP_NOT_PREFIX},
		{SH_OP_MASK, CONDITION_NO_MASK},
		{CONDITION_TEXT_EQ, CONDITION_TEXT_NE},
	};
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		for (int side = 0; side < 2; side++)
			if (pairs[i][side] == op)
				return pairs[i][!side];
	return op;
}

static const struct value_name *find_name(struct condition_parser *p, const struct condition_token *name)
{
	const struct value_name *value = value_names_find(p->names, name->raw);
	if (sv_eq(name->raw, SV("return")) && p->use == CONDITION_WHEN) {
		term_error(p, name->at,
			   "when: is decided at entry, where there is no return value; use error:, or min_duration: "
			   "for slow calls");
		return NULL;
	}
	if (value)
		return value;
	struct nearest near;
	p->wrong = true;
	if (p->names->incomplete)
		return NULL;
	nearest_init(&near, name->raw);
	for (unsigned i = 0; i < p->names->cnt; i++)
		nearest_offer(&near, p->names->names[i].name);
	if (near.best.data)
		term_error(p, name->at, "no argument '" SV_FMT "'; did you mean '" SV_FMT "'?", SV_ARG(name->raw),
			   SV_ARG(near.best));
	else
		term_error(p, name->at, "no argument '" SV_FMT "'; args: declares them", SV_ARG(name->raw));
	return NULL;
}

static void set_integer(struct condition_parser *p, struct condition_term *term, const struct value_name *value,
			const struct condition_token *operand)
{
	unsigned bits = 8 * value_type_size(term->type);
	uint64_t all = bits == 64 ? UINT64_MAX : (1ULL << bits) - 1;
	bool is_signed = value_type_is_signed(term->type) && term->op != SH_OP_MASK;
	uint64_t most = is_signed ? all / 2 : all, least = is_signed ? all / 2 + 1 : 0;
	if (operand->number > (operand->negative ? least : most))
		term_error(p, operand->at, SV_FMT " does not fit '" SV_FMT "', which is %s (%s%llu to %llu)%s",
			   SV_ARG(operand->raw), SV_ARG(value->name), value_type_name(term->type), least ? "-" : "",
			   (unsigned long long)least, (unsigned long long)most,
			   value->declared ? "" : "; return: declares another type");
	term->operand = operand->negative ? 0 - operand->number : operand->number;
	if (term->type == SH_PTR && term->op != SH_OP_EQ && term->op != SH_OP_NE && term->op != SH_OP_MASK)
		term_error(p, operand->at, "'" SV_FMT "' is a ptr, which has no order: only == and != (or type u64)",
			   SV_ARG(value->name));
	if (term->type != SH_BOOL || term->op == SH_OP_MASK)
		return;
	if (operand->number > 1 || (term->op != SH_OP_EQ && term->op != SH_OP_NE))
		term_error(p, operand->at, "'" SV_FMT "' is a bool: it is == or != true or false", SV_ARG(value->name));
	if (operand->number == 1) {
		term->op = negated_op(term->op);
		term->operand = 0;
	}
}

static void set_text(struct condition_parser *p, struct condition_term *term, const struct value_name *value,
		     const struct condition_token *operand)
{
	bool prefix = term->op == SH_OP_PREFIX;
	term->text = operand->text;
	if (term->op != SH_OP_PREFIX && term->op != SH_OP_EQ && term->op != SH_OP_NE)
		term_error(p, operand->at, "strings have no order: starts_with, or in error: also == and !=");
	else if (!prefix && p->use == CONDITION_WHEN)
		term_error(p, operand->at, "when: compares the beginning of a string: " SV_FMT " starts_with " SV_FMT,
			   SV_ARG(value->name), SV_ARG(operand->raw));
	else if (!operand->text.len && prefix)
		term_error(p, operand->at, "every string starts with the empty text");
	else if (memchr(operand->text.data, '\0', operand->text.len))
		term_error(p, operand->at, "a string ends at its first \\0, so it never holds one");
	else if (p->use == CONDITION_WHEN && operand->text.len > SH_PREFIX_LEN)
		term_error(p, operand->at, "a beginning of %zu bytes; when: compares %d at most", operand->text.len,
			   SH_PREFIX_LEN);
	else if (operand->text.len > value->max_len)
		term_error(p, operand->at, "%zu bytes, of '" SV_FMT "' only %u are captured (max:)", operand->text.len,
			   SV_ARG(value->name), value->max_len);
	if (!prefix)
		term->op = term->op == SH_OP_EQ ? CONDITION_TEXT_EQ : CONDITION_TEXT_NE;
}

static void set_text_operand(struct condition_parser *p, struct condition_term *term, const struct value_name *value,
			     struct condition_token *operand)
{
	bool is_string = value->declared && value->type == SH_STRING;
	if (is_string) {
		set_text(p, term, value, operand);
	} else if (value->type == SH_BYTES) {
		term_error(p, operand->at, "'" SV_FMT "' is bytes, which cannot be compared; type string can",
			   SV_ARG(value->name));
	} else if (!value->declared) {
		term_error(p, operand->at, "'return' is compared with text: declare return: string");
	} else if (term->op == SH_OP_PREFIX) {
		term_error(p, operand->at, "starts_with goes with strings; '" SV_FMT "' is %s", SV_ARG(value->name),
			   value_type_name(value->type));
	} else if (operand->text.len == 1) {
		operand->number = (unsigned char)operand->text.data[0];
		set_integer(p, term, value, operand);
	} else {
		term_error(p, operand->at,
			   "'" SV_FMT "' is %s: expected an integer or one character in quotes, found " SV_FMT,
			   SV_ARG(value->name), value_type_name(value->type), SV_ARG(operand->raw));
	}
}

static void set_word_operand(struct condition_parser *p, struct condition_term *term, const struct value_name *value,
			     const struct condition_token *operand)
{
	bool null = operand->kind == TOKEN_NULL;
	uint8_t wanted = null ? SH_PTR : SH_BOOL;
	bool is_return = sv_eq(value->name, SV("return"));
	/* NULL is what the register holds, whatever was captured behind it. */
	if (null && is_return && value_type_is_memory(value->type))
		term->value = VALUE_RETURN;
	else if (value->declared && value->type != wanted)
		term_error(p, operand->at, "'" SV_FMT "' goes with %s; '" SV_FMT "' is %s", SV_ARG(operand->raw),
			   value_type_name(wanted), SV_ARG(value->name), value_type_name(value->type));
	term->type = wanted;
	if (term->op != SH_OP_EQ && term->op != SH_OP_NE)
		term_error(p, operand->at, "only == and != go with '" SV_FMT "'", SV_ARG(operand->raw));
	term->operand = 0;
	if (operand->kind == TOKEN_TRUE)
		term->op = negated_op(term->op);
}

/* `value` is NULL when the name was wrong: the operand is read all the same, so that what follows is understood. */
static void set_operand(struct condition_parser *p, struct condition_term *term, const struct value_name *value,
			struct condition_token *operand)
{
	if (operand->kind == TOKEN_NAME)
		term_error(p, operand->at,
			   "expected a value, found the name '" SV_FMT "'; text needs quotes, and two arguments "
			   "cannot be compared",
			   SV_ARG(operand->raw));
	else if (!value || !value->type)
		return; /* reported */
	else if (operand->kind == TOKEN_TEXT)
		set_text_operand(p, term, value, operand);
	else if (operand->kind != TOKEN_INTEGER)
		set_word_operand(p, term, value, operand);
	else if (value_type_is_memory(value->type))
		term_error(p, operand->at, "'" SV_FMT "' is %s: expected text in quotes, found " SV_FMT,
			   SV_ARG(value->name), value_type_name(value->type), SV_ARG(operand->raw));
	else
		set_integer(p, term, value, operand);
}

static bool is_operand(enum condition_token_kind kind)
{
	return kind == TOKEN_INTEGER || kind == TOKEN_TEXT || kind == TOKEN_NULL || kind == TOKEN_TRUE ||
	       kind == TOKEN_FALSE || kind == TOKEN_NAME;
}

/* `& N` is complete, but C programmers write (flags & N) != 0 in mind: a following == 0 or != 0 belongs to it. */
static void parse_mask_tail(struct condition_parser *p, struct condition_term *term)
{
	if (p->token.kind != TOKEN_COMPARE)
		return;
	uint8_t op = p->token.op;
	size_t at = p->token.at;
	advance(p);
	if (p->token.kind != TOKEN_INTEGER || p->token.number != 0 || (op != SH_OP_EQ && op != SH_OP_NE))
		term_error(p, at, "bits are tested as a whole: '& N' alone, or '& N' with != 0 or == 0");
	else if (op == SH_OP_EQ)
		term->op = CONDITION_NO_MASK;
	advance(p);
}

/* After the name: operator and operand, or nothing. False: reported. */
static bool parse_operator(struct condition_parser *p, struct condition_term *term, const struct value_name *value)
{
	bool negate = p->token.kind == TOKEN_NOT; /* path !starts_with "/" */
	if (negate) {
		advance(p);
		if (p->token.kind != TOKEN_STARTS_WITH)
			return stuck(p, "starts_with") >= 0;
	}
	enum condition_token_kind kind = p->token.kind;
	if (kind != TOKEN_COMPARE && kind != TOKEN_MASK && kind != TOKEN_STARTS_WITH) {
		term->op = SH_OP_NE;
		if (value && value->type == SH_BYTES)
			term_error(p, p->token.at, "'" SV_FMT "' is bytes, which cannot be compared; type string can",
				   SV_ARG(value->name));
		else if (value && value->type == SH_STRING)
			term_error(p, p->token.at, "'" SV_FMT "' is %s: expected starts_with \"...\"",
				   SV_ARG(value->name), value_type_name(value->type));
		return true;
	}
	term->op = kind == TOKEN_COMPARE ? p->token.op : kind == TOKEN_MASK ? SH_OP_MASK : SH_OP_PREFIX;
	advance(p);
	bool fits = kind == TOKEN_COMPARE ? is_operand(p->token.kind)
		    : kind == TOKEN_MASK  ? p->token.kind == TOKEN_INTEGER
					  : p->token.kind == TOKEN_TEXT;
	if (!fits)
		return stuck(p, kind == TOKEN_MASK	? "an integer after '&'"
				: kind == TOKEN_COMPARE ? "a value to compare with"
							: "text in quotes after starts_with") >= 0;
	struct condition_token operand = p->token;
	advance(p);
	set_operand(p, term, value, &operand);
	if (kind == TOKEN_MASK)
		parse_mask_tail(p, term);
	if (negate)
		term->op = negated_op(term->op);
	return true;
}

static int parse_comparison(struct condition_parser *p, bool negated)
{
	if (p->token.kind == TOKEN_INTEGER || p->token.kind == TOKEN_TEXT)
		return stuck(p, "the name of an argument first (amount > 100)");
	if (p->token.kind != TOKEN_NAME)
		return stuck(p, "a comparison such as amount > 100");
	struct condition_token name = p->token;
	const struct value_name *value = find_name(p, &name);
	struct condition_term term = {0};
	if (value) {
		term.value = value->index;
		term.type = value->type;
		if (p->use == CONDITION_ERROR)
			p->names->used |= (uint16_t)(1u << value->index);
	}
	advance(p);
	if (!parse_operator(p, &term, value))
		return -1;
	if (negated)
		term.op = negated_op(term.op);
	if (term.op == CONDITION_NO_MASK && p->use == CONDITION_WHEN)
		term_error(p, name.at, "when: can test that bits are set, not that they are clear");
	return new_node(p, (struct node){.kind = NODE_TERM, .term = term});
}

/* --- the expression ------------------------------------------------------------------------------------------------
 */

static int parse_alternatives(struct condition_parser *p, bool negated);

static int parse_unary(struct condition_parser *p, bool negated)
{
	while (p->token.kind == TOKEN_NOT) {
		negated = !negated;
		advance(p);
	}
	if (p->token.kind != TOKEN_OPEN)
		return parse_comparison(p, negated);
	size_t at = p->token.at;
	advance(p);
	if (++p->depth > MAX_DEPTH) {
		term_error(p, at, "parentheses nested deeper than %d", MAX_DEPTH);
		p->stuck = true;
		return -1;
	}
	int inner = parse_alternatives(p, negated);
	p->depth--;
	if (inner >= 0 && p->token.kind != TOKEN_CLOSE)
		return stuck(p, "'&&', '||' or ')'");
	advance(p);
	return inner;
}

/* De Morgan: a negated group swaps its connectives, the comparisons inside turn themselves. */
static int parse_all_of(struct condition_parser *p, bool negated)
{
	int left = parse_unary(p, negated);
	while (left >= 0 && p->token.kind == TOKEN_AND) {
		advance(p);
		int right = parse_unary(p, negated);
		if (right < 0)
			return -1;
		left = new_node(p, (struct node){negated ? NODE_OR : NODE_AND, left, right, {0}});
	}
	return left;
}

static int parse_alternatives(struct condition_parser *p, bool negated)
{
	int left = parse_all_of(p, negated);
	while (left >= 0 && p->token.kind == TOKEN_OR) {
		advance(p);
		int right = parse_all_of(p, negated);
		if (right < 0)
			return -1;
		left = new_node(p, (struct node){negated ? NODE_AND : NODE_OR, left, right, {0}});
	}
	return left;
}

/* Alternatives of conjunctions, flat, as the kernel half wants them. */
struct flat {
	struct condition_term terms[CONDITION_MAX_TERMS];
	unsigned cnt; /* MAX_TERMS + 1: too many */
};

static void flat_add(struct flat *f, const struct flat *part, unsigned from, unsigned to, bool opens)
{
	for (unsigned i = from; i < to && f->cnt <= CONDITION_MAX_TERMS; i++) {
		if (f->cnt < CONDITION_MAX_TERMS) {
			f->terms[f->cnt] = part->terms[i];
			f->terms[f->cnt].or_before = f->cnt > 0 && opens && i == from;
		}
		f->cnt++;
	}
}

static unsigned flat_end(const struct flat *f, unsigned from)
{
	unsigned to = from + 1;
	while (to < f->cnt && !f->terms[to].or_before)
		to++;
	return to;
}

static void flatten(const struct condition_parser *p, int index, struct flat *ret)
{
	const struct node *node = &p->nodes[index];
	ret->cnt = 0;
	if (node->kind == NODE_TERM) {
		ret->terms[0] = node->term;
		ret->cnt = 1;
		return;
	}
	struct flat left, right;
	flatten(p, node->left, &left);
	flatten(p, node->right, &right);
	if (left.cnt > CONDITION_MAX_TERMS || right.cnt > CONDITION_MAX_TERMS) {
		ret->cnt = CONDITION_MAX_TERMS + 1;
		return;
	}
	if (node->kind == NODE_OR) {
		for (unsigned i = 0; i < left.cnt; i = flat_end(&left, i))
			flat_add(ret, &left, i, flat_end(&left, i), true);
		for (unsigned i = 0; i < right.cnt; i = flat_end(&right, i))
			flat_add(ret, &right, i, flat_end(&right, i), true);
		return;
	}
	for (unsigned i = 0; i < left.cnt; i = flat_end(&left, i)) {
		for (unsigned j = 0; j < right.cnt; j = flat_end(&right, j)) {
			flat_add(ret, &left, i, flat_end(&left, i), true);
			flat_add(ret, &right, j, flat_end(&right, j), false);
		}
	}
}

int condition_parse(struct condition *ret, enum condition_use use, struct sv text, const struct yaml_node *node,
		    const struct yaml_source *src, struct value_names *names, struct arena *arena)
{
	struct condition_parser p = {
		.lexer = {.text = text, .node = node, .src = src, .arena = arena}, .use = use, .names = names};
	*ret = (struct condition){0};
	if (text.len > CONDITION_MAX_TEXT) {
		yaml_error_at(src, node, 0, "a condition of %zu bytes; the longest is %d", text.len,
			      CONDITION_MAX_TEXT);
		return -EINVAL;
	}
	advance(&p);
	int root = parse_alternatives(&p, false);
	if (root >= 0 && p.token.kind != TOKEN_END)
		root = stuck(&p, "'&&', '||' or the end of the condition");
	if (p.lexer.failed)
		return -ENOMEM;
	if (root < 0 || p.wrong || p.stuck)
		return -EINVAL;
	struct flat flat;
	flatten(&p, root, &flat);
	unsigned most = use == CONDITION_WHEN ? SH_MAX_CONDS : CONDITION_MAX_TERMS;
	if (flat.cnt > most) {
		yaml_error_at(src, node, 0, "more than %u comparisons%s", most,
			      p.node_cnt <= (int)most * 2 - 1 ? " once the parentheses are multiplied out" : "");
		return -EINVAL;
	}
	struct condition_term *terms = arena_alloc(arena, sizeof(*terms) * flat.cnt);
	if (!terms)
		return -ENOMEM;
	memcpy(terms, flat.terms, sizeof(*terms) * flat.cnt);
	*ret = (struct condition){terms, flat.cnt};
	return 0;
}

/* --- use -----------------------------------------------------------------------------------------------------------
 */

void condition_to_spec(const struct condition *c, struct sh_spec *spec)
{
	spec->cond_cnt = (uint8_t)c->cnt;
	for (uint32_t i = 0; i < c->cnt; i++) {
		const struct condition_term *term = &c->terms[i];
		struct sh_cond *cond = &spec->conds[i];
		*cond = (struct sh_cond){
			.capture = term->value,
			.op = term->op,
			.or_before = term->or_before,
			.prefix_len = (uint8_t)term->text.len,
			.operand = term->operand,
		};
		if (term->text.len)
			memcpy(cond->prefix, term->text.data, term->text.len);
	}
}

static bool term_holds_text(const struct condition_term *t, const struct call_value *v)
{
	switch (t->op) {
	case SH_OP_PREFIX:
		return sv_starts(v->bytes, t->text);
	case SH_OP_NOT_PREFIX:
		return !sv_starts(v->bytes, t->text);
	case CONDITION_TEXT_EQ:
		return sv_eq(v->bytes, t->text) && !v->truncated;
	default:
		return !sv_eq(v->bytes, t->text) || v->truncated;
	}
}

static bool term_holds(const struct condition_term *t, const struct call_values *values)
{
	const struct call_value *v = &values->v[t->value];
	if (!v->type || v->err)
		return false;
	if (t->type == SH_STRING)
		return term_holds_text(t, v);
	uint64_t a = t->value == VALUE_RETURN ? value_extend(t->type, values->return_raw) : v->num, b = t->operand;
	bool is_signed = value_type_is_signed(t->type);
	bool less = is_signed ? (int64_t)a < (int64_t)b : a < b;
	switch (t->op) {
	case SH_OP_EQ:
		return a == b;
	case SH_OP_NE:
		return a != b;
	case SH_OP_LT:
		return less;
	case SH_OP_LE:
		return less || a == b;
	case SH_OP_GT:
		return !less && a != b;
	case SH_OP_GE:
		return !less;
	case SH_OP_MASK:
		return (a & b) != 0;
	case CONDITION_NO_MASK:
		return (a & b) == 0;
	default:
		return false;
	}
}

bool condition_eval(const struct condition *c, const struct call_values *values)
{
	bool all = c->cnt > 0;
	for (uint32_t i = 0; i < c->cnt; i++) {
		if (c->terms[i].or_before) {
			if (all)
				return true;
			all = true;
		}
		all = all && term_holds(&c->terms[i], values);
	}
	return all;
}
