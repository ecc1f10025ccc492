/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a mangled name, as a readable one, and as a pattern over it. */
#include <stddef.h>
#include <stdint.h>

#include "base/nearest.h"
#include "base/glob.h"
#include "binary/demangle.h"
#include "binary/name.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sv name = {(const char *)data, size};
	struct sbuf out = {0};
	struct sv base = name_base(name, NULL);
	if (base.len > name.len)
		__builtin_trap();
	demangle(base, &out);
	if (out.len > DEMANGLE_OUT_MAX)
		__builtin_trap();
	struct sv texts[] = {name, sbuf_sv(&out)};
	for (size_t i = 0; i < 2; i++) {
		struct name_parts p = name_parse(texts[i]);
		if (p.unqualified > p.name_end || p.name_end > p.args_end || p.args_end > p.params_end ||
		    p.params_end > texts[i].len)
			__builtin_trap();
		struct sv last = name_unqualified(texts[i]);
		glob_match((struct sv){name.data, size / 4}, texts[i]);
		edit_distance(last, (struct sv){name.data, size / 2}, 4);
	}
	sbuf_release(&out);
	return 0;
}
