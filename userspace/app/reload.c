/* SPDX-License-Identifier: Apache-2.0 */
#include "app/reload.h"

#include <errno.h>
#include <malloc.h>

#include "app/options.h"
#include "app/session_private.h"
#include "base/log.h"

void reload_release(struct reload *r)
{
	vec_foreach (list, &r->kept)
		probe_list_free(*list);
	vec_release(&r->kept);
	sbuf_release(&r->error);
}

void reload_tick(struct reload *r, struct session *s)
{
	size_t kept = 0;
	if (!r->kept.cnt)
		return;
	targets_vacate(s);
	vec_foreach (list, &r->kept) {
		if (probe_list_lends(*list))
			r->kept.data[kept++] = *list;
		else
			probe_list_free(*list);
	}
	r->kept.cnt = kept;
}

static enum reload_end refuse(struct reload *r, const char *why)
{
	if (why)
		sbuf_adds(&r->error, why);
	while (r->error.len && r->error.data[r->error.len - 1] == '\n')
		r->error.data[--r->error.len] = '\0';
	r->refused++;
	return RELOAD_REFUSED;
}

static void keep(struct reload *r, struct probe_list *list)
{
	if (vec_push(&r->kept, list) < 0)
		log_error("out of memory: a configuration is kept for good");
}

/* The list is merged: the plan and the processes follow. */
void reload_plan(struct session *s)
{
	const struct probe_list *list = s->options.list;
	struct sbuf err = {0};
	VEC(uint32_t) order = {0};
	int failed = 0;
	for (size_t i = 0; i < list->order.cnt && failed == 0; i++)
		if (!list->probes.data[list->order.data[i]].off)
			failed = vec_push(&order, list->order.data[i]);
	if (failed == 0)
		failed = plan_update(s->plan, order.data, order.cnt, &err);
	if (failed)
		log_error("the new probes could not be attached everywhere: %s",
			  failed == -ENOMEM ? "out of memory" : sbuf_str(&err));
	vec_release(&order);
	sbuf_release(&err);
}

static void apply(struct session *s, const struct list_merge *m)
{
	/* Even if nothing came or went: another order gives a function to another probe. */
	if (m->targets_added || m->targets_removed)
		targets_changed(s);
	reload_plan(s);
	if (m->targets_added)
		targets_attach_all(s);
	malloc_trim(0); /* reading symbols took memory */
}

static void say_what(const struct list_merge *m, struct sbuf *out)
{
	sbuf_addf(out, "probes +%u -%u, targets +%u -%u", m->probes_added, m->probes_removed, m->targets_added,
		  m->targets_removed);
	if (m->fixed_changed)
		sbuf_adds(out, "; what else changed (limits:, export:, agent: ...) holds from the next start on");
}

static bool is_same(const struct list_merge *m, const struct probe_list *list, const uint32_t *before, size_t cnt)
{
	if (m->targets_added || m->targets_removed || m->probes_added || m->probes_removed || cnt != list->order.cnt)
		return false;
	return !cnt || !memcmp(before, list->order.data, cnt * sizeof(*before));
}

static enum reload_end merge_and_apply(struct reload *r, struct session *s, struct probe_list *next, bool at_run_time,
				       struct sbuf *ret_what)
{
	struct probe_list *list = s->options.list;
	struct list_merge m;
	reload_tick(r, s);
	size_t cnt = list->order.cnt;
	uint32_t *before = calloc(cnt + 1, sizeof(*before));
	bool kept = false;
	if (before && cnt)
		memcpy(before, list->order.data, cnt * sizeof(*before));
	pthread_mutex_lock(&s->lock);
	int rc = !before       ? -ENOMEM
		 : at_run_time ? probe_list_merge_probes(list, next, &m, &kept, &r->error)
			       : probe_list_merge(list, next, &m, &kept, &r->error);
	pthread_mutex_unlock(&s->lock);
	if (kept)
		keep(r, next);
	else
		probe_list_free(next);
	if (rc < 0) {
		free(before);
		return refuse(r, r->error.len ? NULL : "out of memory");
	}
	bool same = is_same(&m, list, before, cnt);
	free(before);
	if (same && !m.fixed_changed)
		return RELOAD_SAME;
	if (!same)
		apply(s, &m);
	say_what(&m, ret_what);
	r->done++;
	return RELOAD_DONE;
}

static enum reload_end check_next(struct reload *r, struct session *s, struct probe_list *next)
{
	if (s->recorder)
		return refuse(r, "a capture is being written, which holds one list of probes");
	if (options_settle(next, COMMAND_serve) < 0)
		return refuse(r, "out of memory");
	if (!next->targets.cnt)
		return refuse(r, "it names no targets: nothing would be traced");
	return RELOAD_DONE;
}

enum reload_end reload_file(struct reload *r, struct session *s, struct sbuf *ret_what)
{
	struct diagnostics d = {0};
	struct probe_list *next = NULL;
	enum reload_end end = RELOAD_DONE;
	sbuf_reset(&r->error);
	int rc = probe_list_load_guarded(&next, s->options.config, &d);
	if (rc < 0 || d.error_cnt) {
		diagnostics_print(&d, &r->error);
		end = refuse(r, r->error.len ? NULL : "out of memory");
	}
	diagnostics_release(&d);
	if (end == RELOAD_DONE)
		end = check_next(r, s, next);
	if (end == RELOAD_REFUSED) {
		probe_list_free(next);
	} else {
		policy_apply(&s->policy, next);
		end = merge_and_apply(r, s, next, false, ret_what);
	}
	r->bad = end == RELOAD_REFUSED;
	return end;
}

enum reload_end reload_add_probes(struct reload *r, struct session *s, struct sv yaml, struct sbuf *ret_what)
{
	struct diagnostics d = {0};
	struct probe_list *more = NULL;
	enum reload_end end = RELOAD_DONE;
	sbuf_reset(&r->error);
	int rc = probe_list_parse(&more, "probes", yaml.data ? yaml.data : "", yaml.len, &d);
	if (rc < 0 || d.error_cnt) {
		diagnostics_print(&d, &r->error);
		end = refuse(r, r->error.len ? NULL : "out of memory");
	} else if (more->targets.cnt || more->handoffs.cnt || more->includes.cnt || !more->probes.cnt) {
		end = refuse(r, "at run time probes: can be added, and nothing else; all else is the configuration's");
	} else if (s->recorder) {
		end = refuse(r, "a capture is being written, which holds one list of probes");
	}
	diagnostics_release(&d);
	if (end == RELOAD_REFUSED)
		probe_list_free(more);
	else
		end = merge_and_apply(r, s, more, true, ret_what);
	return end;
}

enum reload_end reload_remove_probe(struct reload *r, struct session *s, uint32_t index, struct sbuf *ret_what)
{
	struct list_merge m;
	sbuf_reset(&r->error);
	int rc = probe_list_merge_remove(s->options.list, index, &m);
	if (rc == -ENOENT)
		return refuse(r, "there is no such probe (`spanhound ctl probe list` shows them)");
	if (rc == -EPERM)
		return refuse(r, "the configuration asks for it: take it out there");
	apply(s, &m);
	say_what(&m, ret_what);
	r->done++;
	return RELOAD_DONE;
}
