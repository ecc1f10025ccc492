/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "binary/targets.h"

void code_targets_add(struct code_targets *t, uint64_t addr)
{
	uint64_t at = addr - t->addr;
	if (at < t->sz)
		t->bits[at / 64] |= 1ull << (at % 64);
}

bool code_targets_has(const struct code_targets *t, uint64_t addr)
{
	uint64_t at = addr - t->addr;
	return at < t->sz && (t->bits[at / 64] >> (at % 64) & 1);
}

int code_targets_init(struct code_targets *t, const struct code_window *text, const uint64_t *starts, size_t start_cnt)
{
	*t = (struct code_targets){.addr = text->addr, .sz = text->sz};
	t->bits = calloc(text->sz / 64 + 1, sizeof(*t->bits));
	if (!t->bits)
		return -ENOMEM;
	uint64_t at = text->addr, end = text->addr + text->sz;
	size_t next = 0;
	while (at < end) {
		struct insn i;
		int len = decode_at(text, at, &i);
		uint64_t after = at + (len > 0 ? (uint64_t)len : 1);
		while (next < start_cnt && starts[next] <= at)
			next++;
		/* An instruction that runs over a known start was none: what stands there is data. */
		if (next < start_cnt && after > starts[next])
			after = starts[next];
		else if (len > 0 && i.target)
			code_targets_add(t, i.target);
		at = after;
	}
	return 0;
}

void code_targets_release(struct code_targets *t)
{
	free(t->bits);
	*t = (struct code_targets){0};
}
