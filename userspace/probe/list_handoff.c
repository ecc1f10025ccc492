/* SPDX-License-Identifier: Apache-2.0 */
/* `handoffs:`: how work goes from one thread to another. */
#include "probe/list_read.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* --- tables --------------------------------------------------------------------------------------------------------
 */

#define SIDE_UNKNOWN UINT8_MAX

/* Where the value is: on both sides, or on each. */
struct key_draft {
	uint8_t at, from, to;
};

static LIST_READER(read_side)
{
	int64_t n = 0;
	bool is_return = value->kind == YAML_SCALAR && sv_eq(value->text, SV("return"));
	if (is_return || (list_parse_integer(value, &n) && n >= 1 && n <= SH_MAX_ARGS))
		*(uint8_t *)field = (uint8_t)n;
	else
		list_expected(r, key, value);
}

#define FORM_SIDE     "an argument from 1 to 6, or return"
#define IN_KEY(field) offsetof(struct key_draft, field)
static const struct list_key key_keys[] = {
	LIST_KEY("at", read_side, IN_KEY(at), FORM_SIDE, "the same for both functions"),
	LIST_KEY("from", read_side, IN_KEY(from), FORM_SIDE, "of the function that gives"),
	LIST_KEY("to", read_side, IN_KEY(to), FORM_SIDE, "of the function that takes"),
};
static const struct list_map list_key_map = {"key:", key_keys, COUNT(key_keys)};

static LIST_READER(read_key)
{
	struct key_draft *draft = field;
	uint32_t given;
	(void)key;
	if (!list_read_map(r, &list_key_map, value, draft, &given))
		return;
	bool at = given & 1, from = given & 2, to = given & 4;
	if (at && (from || to))
		yaml_error(&r->src, value,
			   "key: at: says it for both functions; from: and to: are for when they differ");
	else if (!at && !(from && to))
		yaml_error(&r->src, value, "key: needs at:, or from: and to: (key: {from: 2, to: return})");
	if (at)
		draft->from = draft->to = draft->at;
}

#define IN_HANDOFF(field) offsetof(struct probe_handoff, field)
struct handoff_draft {
	struct probe_handoff handoff; /* first: the table's offsets are into either */
	struct key_draft key;
};

static const struct list_key handoff_keys[] = {
	LIST_KEY("from", list_read_globs, IN_HANDOFF(give.functions), "a function's name or glob, or a list of them",
		 "gives the work: it is for what its caller is serving"),
	LIST_KEY("to", list_read_globs, IN_HANDOFF(take.functions), "a function's name or glob, or a list of them",
		 "takes it: its thread works for the same request until it takes the next"),
	LIST_KEY("key", read_key, offsetof(struct handoff_draft, key), "{at: 1} or {from: 1, to: return}",
		 "the value that both see: a pointer to the work, say", .inner = &list_key_map),
	LIST_KEY("library", list_read_glob, IN_HANDOFF(library), "a glob on the file name of a shared library",
		 "that has both; default: the executable"),
	LIST_KEY("optional", list_read_bool, IN_HANDOFF(optional), "true or false",
		 "finding nothing is a warning, not an error"),
};
const struct list_map list_handoff_map = {"a hand-off", handoff_keys, COUNT(handoff_keys)};

/* --- reading -------------------------------------------------------------------------------------------------------
 */

static void check_given(struct list_reader *r, const struct yaml_node *node, uint32_t given)
{
	for (unsigned i = 0; i < 3; i++)
		if (!(given & (1u << i)))
			yaml_error(&r->src, node, "a hand-off needs %s: (%s)", handoff_keys[i].name,
				   i == 2 ? handoff_keys[i].form : handoff_keys[i].help);
}

static void read_handoff(struct list_reader *r, const struct yaml_node *one)
{
	struct handoff_draft draft = {.key = {SIDE_UNKNOWN, SIDE_UNKNOWN, SIDE_UNKNOWN}};
	struct probe_handoff *h = &draft.handoff;
	uint32_t before = r->src.d->error_cnt, given;
	h->target = r->target;
	h->pos = one->pos;
	if (!list_read_map(r, &list_handoff_map, one, &draft, &given))
		return;
	check_given(r, one, given);
	h->give.arg = draft.key.from;
	h->take.arg = draft.key.to;
	h->broken = r->src.d->error_cnt > before || !yaml_is_good(one);
	if (vec_push(&r->list->handoffs, *h) < 0) {
		vec_release(&h->give.functions);
		vec_release(&h->take.functions);
		r->no_memory = true;
	}
}

LIST_READER(list_read_handoffs)
{
	(void)field;
	for (const struct yaml_node *one = list_first_map(r, key, value); one; one = list_next_map(value, one)) {
		if (r->list->handoffs.cnt == PROBE_LIST_MAX_HANDOFFS) {
			yaml_error(&r->src, one, "more than %d hand-offs", PROBE_LIST_MAX_HANDOFFS);
			return;
		}
		read_handoff(r, one);
	}
}
