/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/contexts.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* A value is copied while its thread may be writing it: two copies that say the same are whole. A thread that is in
 * something else each time is so fast that any of them is as true as another. */
#define TRIES 8
#define BATCH 512

static void context_now(const struct sh_context *c, struct context_now *ret)
{
	uint32_t depth = c->depth < SH_MAX_FRAMES ? c->depth : SH_MAX_FRAMES;
	memset(ret, 0, sizeof(*ret)); /* the padding, too: they are compared */
	if (c->base.span_id) {
		ret->work = c->base;
		ret->answered = c->base_flags & SH_BASE_ANSWERED;
	}
	if (!depth || (c->base.span_id && depth <= c->base_depth))
		return;
	const struct sh_frame *f = &c->frames[depth - 1];
	ret->call = f->self;
	ret->func = f->func;
	ret->call_ns = f->start_ns;
}

int contexts_of_threads(const struct context_maps *m, uint32_t tgid, const uint32_t *tids, size_t cnt,
			struct context_now *ret)
{
	__cleanup(freep) struct sh_context *c = malloc(m->context_sz);
	if (!c)
		return -ENOMEM;
	for (size_t i = 0; i < cnt; i++) {
		uint64_t key = (uint64_t)tgid << 32 | tids[i];
		struct context_now before;
		for (int n = 0; n < TRIES; n++) {
			before = ret[i];
			if (bpf_map_lookup_elem(m->contexts, &key, c) == 0)
				context_now(c, &ret[i]);
			else
				memset(&ret[i], 0, sizeof(ret[i]));
			if (n && !memcmp(&before, &ret[i], sizeof(before)))
				break;
		}
	}
	return 0;
}

int contexts_of_goroutines(const struct context_maps *m, uint32_t tgid, struct context_now *ret, size_t max)
{
	struct sh_task keys[BATCH];
	struct sh_task_work works[BATCH];
	uint32_t at = 0, cnt;
	size_t found = 0;
	int rc = 0;
	/* By batches: key by key, the walk begins anew whenever the key it stands at goes. */
	for (bool first = true; rc == 0 && found < max; first = false) {
		uint32_t in = at;
		cnt = BATCH;
		rc = bpf_map_lookup_batch(m->tasks, first ? NULL : &in, &at, keys, works, &cnt, NULL) < 0 ? -errno : 0;
		if (rc < 0 && rc != -ENOENT)
			return rc;
		for (uint32_t i = 0; i < cnt && found < max; i++)
			if (keys[i].tgid == tgid && !(keys[i].space & SH_TASK_GIVEN))
				ret[found++] = (struct context_now){
					.work = works[i].base,
					.answered = works[i].flags & SH_BASE_ANSWERED,
					.goroutine = keys[i].id,
				};
	}
	return (int)found;
}
