/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROBE_TEMPLATE_H
#define PROBE_TEMPLATE_H

#include "base/arena.h"
#include "probe/list_yaml.h"
#include "probe/values.h"

/* Text with values in it: "GET {path}", "{function} returned {return}"; "{{" and "}}" are braces. Parsed once, then
 * rendered for every span. */

#define TEMPLATE_MAX_SEGMENTS 16
#define TEMPLATE_MAX_TEXT     1024 /* bytes, as written */
#define TEMPLATE_MAX_SZ	      4096 /* bytes, rendered; what goes beyond is cut */

struct template_segment {
	int16_t value; /* index into call_values.v, or one of the next two */
	uint16_t len;
	const char *literal;
};
#define TEMPLATE_LITERAL  (-1)
#define TEMPLATE_FUNCTION (-2)

struct template
{
	const struct template_segment *segments;
	uint32_t cnt; /* 0: not given */
};

/* `text` is that of `node` (NULL: not from a file). Values it uses are marked in `names`; segments and literals
 * go to `arena`. 0; -EINVAL: mistakes, each reported; -ENOMEM. */
int template_parse(struct template *ret, struct sv text, const struct yaml_node *node, const struct yaml_source *src,
		   struct value_names *names, struct arena *arena);

/* Nothing in it changes from call to call nor from function to function; then *ret is its text. */
bool template_is_constant(const struct template *t, struct sv *ret);

/* Writes at most TEMPLATE_MAX_SZ bytes to dst, returns their number. No allocation. */
size_t template_render(const struct template *t, const struct call_values *values, char *dst);
/* The same as a string of exactly that size in the arena (borrowed from the template when it is constant).
 * SV_NULL when out of memory. */
struct sv template_render_arena(const struct template *t, const struct call_values *values, struct arena *arena);

#endif
