/* SPDX-License-Identifier: Apache-2.0 */
/* scan_explain(): what to say when nothing matched. */
#include <errno.h>
#include <limits.h>

#include "base/glob.h"
#include "base/nearest.h"
#include "target/entry.h"
#include "target/scan.h"
#include "target/text.h"

#define NEAREST	    5
#define MAX_COMPARE 64 /* bytes of a name that are compared */
#define FAR	    UINT_MAX

struct candidate {
	unsigned int distance; /* 0: one contains the other */
	char name[MAX_COMPARE + 1];
	int port;
};

struct similar {
	char wanted[MAX_COMPARE + 1];
	struct candidate best[NEAREST];
	size_t cnt;
};

static unsigned int distance(const char *wanted, const char *name)
{
	struct sv a = sv_of(wanted), b = sv_of(name);
	if (!a.len || !b.len)
		return FAR;
	if ((b.len >= 3 && strcasestr(wanted, name)) || (a.len >= 2 && strcasestr(name, wanted)))
		return 0;
	/* More than every third letter wrong is another word. */
	size_t third = 1 + (a.len > b.len ? a.len : b.len) / 3;
	unsigned int limit = third < EDIT_DISTANCE_MAX ? (unsigned int)third : EDIT_DISTANCE_MAX;
	unsigned int d = edit_distance(a, b, limit);
	return d <= limit ? d : FAR;
}

/* Keeps the best few, each name once; the earlier one wins a tie. */
static void keep(struct similar *n, const struct candidate *c)
{
	size_t at = n->cnt;
	for (size_t i = 0; i < n->cnt; i++)
		if (strcmp(n->best[i].name, c->name) == 0 && n->best[i].port == c->port)
			return;
	while (at > 0 && c->distance < n->best[at - 1].distance)
		at--;
	if (at == NEAREST)
		return;
	size_t move = (n->cnt < NEAREST ? n->cnt : NEAREST - 1) - at;
	memmove(&n->best[at + 1], &n->best[at], move * sizeof(*c));
	n->best[at] = *c;
	n->cnt += n->cnt < NEAREST;
}

/* Names are other people's bytes on their way to a terminal. */
static void printable(struct sv s, char *out)
{
	size_t n = s.len < MAX_COMPARE ? s.len : MAX_COMPARE;
	for (size_t i = 0; i < n; i++)
		out[i] = (unsigned char)s.data[i] < 0x20 || s.data[i] == 0x7f ? '?' : s.data[i];
	out[n] = '\0';
}

static void consider(struct similar *n, struct sv name)
{
	struct candidate c = {0};
	printable(name, c.name);
	c.distance = distance(n->wanted, c.name);
	if (c.distance != FAR)
		keep(n, &c);
}

static int visit_name(void *arg, struct proc *p)
{
	struct entry entry;
	struct sv exe_name;
	if (p->dir < 0)
		return 0;
	target_names(p, &exe_name, &entry);
	consider(arg, entry_name(&entry));
	consider(arg, exe_name);
	consider(arg, p->comm);
	return 0;
}

struct port_search {
	struct listeners listeners;
	struct similar nearest;
	int wanted;
};

static int visit_ports(void *arg, struct proc *p)
{
	struct port_search *s = arg;
	struct int_vec ports = {0};
	struct entry entry;
	struct sv exe_name;
	if (p->dir < 0)
		return 0;
	listeners_ports(&s->listeners, p, &ports);
	for (size_t i = 0; i < ports.cnt; i++) {
		struct candidate c = {.port = ports.data[i], .distance = (unsigned int)abs(ports.data[i] - s->wanted)};
		target_names(p, &exe_name, &entry);
		printable(entry_name(&entry).len ? entry_name(&entry) : exe_name.len ? exe_name : p->comm, c.name);
		keep(&s->nearest, &c);
	}
	vec_release(&ports);
	return 0;
}

static void add_nearest(const struct similar *n, const char *before, struct sbuf *out)
{
	for (size_t i = 0; i < n->cnt; i++) {
		sbuf_adds(out, i ? ", " : before);
		if (n->best[i].port)
			sbuf_addf(out, "%d (%s)", n->best[i].port, n->best[i].name);
		else
			sbuf_adds(out, n->best[i].name);
	}
}

static void explain_port(const char *root, const struct target_spec *spec, struct sbuf *out)
{
	struct port_search s = {.wanted = spec->ports.data[0]};
	struct sbuf ignored = {0};
	sbuf_addf(out, "no process listens on port %d", s.wanted);
	for (size_t i = 1; i < spec->ports.cnt; i++)
		sbuf_addf(out, " or %d", spec->ports.data[i]);
	scan_each(root, visit_ports, &s, &ignored);
	add_nearest(&s.nearest, "; ports listened on: ", out);
	listeners_release(&s.listeners);
	sbuf_release(&ignored);
}

static void explain_pid(const char *root, int pid, struct sbuf *out)
{
	struct proc p = PROC_INIT;
	const struct proc_status *status;
	char name[MAX_COMPARE + 1];
	int err = proc_open(&p, root, pid);
	printable(p.comm, name);
	if (err == -EACCES || err == -EPERM)
		sbuf_addf(out, "process %d may not be looked at: run as root", pid);
	else if (err)
		sbuf_addf(out, "no process %d", pid);
	else if (p.kernel_thread)
		sbuf_addf(out, "process %d (%s) is a kernel thread", pid, name);
	else if (p.zombie)
		sbuf_addf(out, "process %d (%s) has ended and waits for its parent to notice", pid, name);
	else if (proc_status(&p, &status) == 0 && status->tgid != pid)
		sbuf_addf(out, "no process %d: it is a thread of process %d (%s)", pid, status->tgid, name);
	else
		sbuf_addf(out, "process %d (%s) does not match the rest of its target", pid, name);
	proc_close(&p);
}

/* The letters of a pattern, of its last path component or first word. */
static void wanted_name(const struct target_spec *spec, char *out)
{
	struct sv pattern = spec->names.cnt	 ? spec->names.data[0]
			    : spec->exes.cnt	 ? text_basename(spec->exes.data[0])
			    : spec->cmdlines.cnt ? spec->cmdlines.data[0]
						 : SV_NULL;
	size_t n = 0;
	for (size_t i = 0; i < pattern.len && n < MAX_COMPARE; i++) {
		if (pattern.data[i] == ' ' && n)
			break;
		if (!memchr("*?[]\\ ", pattern.data[i], 6))
			out[n++] = pattern.data[i];
	}
	out[n] = '\0';
}

struct left_out {
	const struct target_spec *spec;
	size_t cnt;
	int pid;
	char why[sizeof(((struct proc *)0)->skipped)];
};

static int visit_left_out(void *arg, struct proc *p)
{
	struct left_out *l = arg;
	if (!target_matches(l->spec, p, NULL) && p->skipped[0] && !l->cnt++) {
		l->pid = p->pid;
		memcpy(l->why, p->skipped, sizeof(l->why));
	}
	return 0;
}

/* What matches may not be chosen. */
static bool explain_left_out(const char *root, const struct target_spec *spec, struct sbuf *out)
{
	struct left_out l = {.spec = spec};
	struct sbuf ignored = {0};
	if (spec->policy)
		scan_each(root, visit_left_out, &l, &ignored);
	sbuf_release(&ignored);
	if (!l.cnt)
		return false;
	target_spec_describe(spec, out);
	sbuf_addf(out, ": %s process is left out (process %d: %s)", l.cnt == 1 ? "the only matching" : "every matching",
		  l.pid, l.why);
	return true;
}

void scan_explain(const char *root, const struct target_spec *spec, size_t denied, struct sbuf *out)
{
	if (explain_left_out(root, spec, out))
		return;
	bool only_ports = spec->ports.cnt && !spec->names.cnt && !spec->exes.cnt && !spec->cmdlines.cnt &&
			  !spec->containers.cnt && !spec->pids.cnt && !spec->units.cnt && !spec->labels.cnt &&
			  !spec->languages.cnt;
	if (spec->pids.cnt == 1) {
		explain_pid(root, spec->pids.data[0], out);
	} else if (only_ports) {
		explain_port(root, spec, out);
	} else {
		struct similar n = {0};
		struct sbuf ignored = {0};
		sbuf_adds(out, "no process matches ");
		target_spec_describe(spec, out);
		wanted_name(spec, n.wanted);
		if (n.wanted[0])
			scan_each(root, visit_name, &n, &ignored);
		add_nearest(&n, "; similar names running: ", out);
		sbuf_release(&ignored);
	}
	if (denied)
		sbuf_addf(out, " (%zu processes could not be looked at: run as root)", denied);
}
