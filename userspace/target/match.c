/* SPDX-License-Identifier: Apache-2.0 */
#include "target/match.h"

#include <stdio.h>
#include <strings.h>

#include "base/glob.h"
#include "target/entry.h"
#include "target/policy.h"
#include "target/text.h"

static bool any_glob(const struct sv_vec *globs, struct sv text)
{
	for (size_t i = 0; text.len && i < globs->cnt; i++)
		if (glob_match(globs->data[i], text))
			return true;
	return false;
}

#define COMM_MAX 15 /* TASK_COMM_LEN less its NUL */

void target_names(struct proc *p, struct sv *ret_exe_name, struct entry *ret_entry)
{
	struct sv exe = SV_NULL, cmdline = SV_NULL;
	proc_exe(p, &exe);
	proc_cmdline(p, &cmdline);
	*ret_exe_name = text_basename(exe);
	entry_find(*ret_exe_name, cmdline, ret_entry);
}

struct sv target_called(struct proc *p, struct sv exe_name)
{
	struct sv rest = SV_NULL, first;
	if (proc_cmdline(p, &rest) < 0 || !cmdline_next(&rest, &first) || !p->comm.len)
		return exe_name;
	/* Programs that set their title (redis-server *:6379) put it in place of the first argument. */
	const char *end = first.len ? memchr(first.data, ' ', first.len) : NULL;
	if (end)
		first.len = (size_t)(end - first.data);
	first = text_basename(first);
	if (first.len && first.data[first.len - 1] == ':')
		first.len--;
	bool whole = first.len < COMM_MAX ? sv_eq(first, p->comm) : sv_starts(first, p->comm);
	return whole ? first : exe_name;
}

/* com.acme.Main is found as such and as Main, python -m shop.worker as such and as worker. */
static struct sv last_component(const struct entry *e)
{
	const char *dot = NULL;
	if (e->kind == ENTRY_MODULE || e->kind == ENTRY_CLASS)
		dot = e->what.len ? memrchr(e->what.data, '.', e->what.len) : NULL;
	if (!dot)
		return SV_NULL;
	return (struct sv){dot + 1, e->what.len - (size_t)(dot + 1 - e->what.data)};
}

static bool names_match(const struct sv_vec *names, struct proc *p)
{
	struct entry entry;
	struct sv exe_name;
	if (any_glob(names, p->comm))
		return true;
	target_names(p, &exe_name, &entry);
	return any_glob(names, exe_name) || any_glob(names, entry_name(&entry)) ||
	       any_glob(names, last_component(&entry));
}

static bool exe_matches(const struct sv_vec *exes, struct proc *p)
{
	struct sv exe;
	return proc_exe(p, &exe) == 0 && any_glob(exes, exe);
}

static bool cmdline_matches(const struct sv_vec *cmdlines, struct proc *p)
{
	struct sv cmdline;
	if (proc_cmdline(p, &cmdline) || !cmdline.len)
		return false;
	char *joined = malloc(cmdline.len);
	if (!joined)
		return false;
	for (size_t i = 0; i < cmdline.len; i++)
		joined[i] = cmdline.data[i] ? cmdline.data[i] : ' ';
	bool matches = any_glob(cmdlines, (struct sv){joined, cmdline.len});
	free(joined);
	return matches;
}

static bool container_matches(const struct sv_vec *containers, const struct target_policy *policy, struct proc *p)
{
	struct container c;
	if (proc_container(p, &c) || !c.id.len)
		return false;
	struct sv id = c.id;
	for (size_t i = 0; i < containers->cnt; i++) {
		struct sv want = containers->data[i];
		if (glob_is_pattern(want) ? glob_match(want, id) : want.len && sv_starts(id, want))
			return true;
	}
	return policy && policy->containers && containers_match_name(policy->containers, id, containers);
}

static bool labels_match(const struct tag_vec *labels, const struct target_policy *policy, struct proc *p)
{
	struct container c;
	if (proc_container(p, &c) || !c.id.len)
		return false;
	return (policy && policy->containers && containers_match_labels(policy->containers, c.id, labels)) ||
	       podinfo_match_labels(p, labels);
}

static bool unit_matches(const struct sv_vec *units, struct proc *p)
{
	struct container c;
	if (proc_container(p, &c) || !c.unit.len)
		return false;
	struct sv bare = c.unit;
	if (text_ends(bare, SV(".service")))
		bare.len -= 8;
	return any_glob(units, c.unit) || (bare.len < c.unit.len && any_glob(units, bare));
}

static bool language_matches(const struct sv_vec *languages, const struct target_policy *policy, struct proc *p)
{
	struct language l;
	if (language_find(policy ? policy->languages : NULL, p, &l) || l.runtime == RUNTIME_UNKNOWN)
		return false;
	struct sv word = runtime_word(l.runtime), title = sv_of(runtime_title(l.runtime));
	for (size_t i = 0; i < languages->cnt; i++) {
		struct sv want = languages->data[i];
		if ((want.len == word.len && strncasecmp(want.data, word.data, word.len) == 0) ||
		    (want.len == title.len && strncasecmp(want.data, title.data, title.len) == 0))
			return true;
	}
	return false;
}

static bool pid_matches(const struct int_vec *pids, int pid)
{
	for (size_t i = 0; i < pids->cnt; i++)
		if (pids->data[i] == pid)
			return true;
	return false;
}

static bool ports_match(const struct target_spec *s, struct proc *p, struct listeners *l)
{
	struct listeners own = {0};
	bool matches = s->ports.cnt ? listeners_match(l ? l : &own, p, &s->ports) : listeners_any(l ? l : &own, p);
	listeners_release(&own);
	return matches;
}

static bool selected(const struct target_spec *s, const struct target_policy *policy, struct proc *p,
		     struct listeners *l)
{
	if (p->dir < 0 || p->kernel_thread || p->zombie || s->retired || !target_spec_selects(s))
		return false;
	if (s->pids.cnt && !pid_matches(&s->pids, p->pid))
		return false;
	if (s->names.cnt && !names_match(&s->names, p))
		return false;
	if (s->exes.cnt && !exe_matches(&s->exes, p))
		return false;
	if (s->cmdlines.cnt && !cmdline_matches(&s->cmdlines, p))
		return false;
	if (s->containers.cnt && !container_matches(&s->containers, policy, p))
		return false;
	if (s->units.cnt && !unit_matches(&s->units, p))
		return false;
	if (s->labels.cnt && !labels_match(&s->labels, policy, p))
		return false;
	if (s->languages.cnt && !language_matches(&s->languages, policy, p))
		return false;
	return !target_needs_listening(s) || ports_match(s, p, l);
}

bool policy_admits(const struct target_policy *policy, struct proc *p, struct listeners *l)
{
	struct sbuf what = {0};
	bool carries = false;
	for (size_t i = 0; i < policy->exclude_cnt; i++) {
		if (!selected(&policy->excludes[i], policy, p, l))
			continue;
		target_spec_describe(&policy->excludes[i], &what);
		snprintf(p->skipped, sizeof(p->skipped), "excluded by %s", sbuf_str(&what));
		sbuf_release(&what);
		return false;
	}
	if (!policy->trace_instrumented && instrumented_find(p, &what)) {
		snprintf(p->skipped, sizeof(p->skipped), "carries %s", sbuf_str(&what));
		carries = true;
	}
	sbuf_release(&what);
	return !carries;
}

bool target_matches(const struct target_spec *s, struct proc *p, struct listeners *l)
{
	return selected(s, s->policy, p, l) && (!s->policy || policy_admits(s->policy, p, l));
}

int target_first_match(const struct target_spec *specs, size_t cnt, struct proc *p, struct listeners *l)
{
	for (size_t i = 0; i < cnt; i++)
		if (target_matches(&specs[i], p, l))
			return (int)i;
	return -1;
}
