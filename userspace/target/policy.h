/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TARGET_POLICY_H
#define TARGET_POLICY_H

#include "target/containers.h"
#include "target/language.h"
#include "target/spec.h"

/* What holds for all targets of a list. A spec points to it (target_spec.policy; NULL: none of this), so that whoever
 * matches a process, at a scan or at an exec, decides alike. Outlives the specs; constant while they are in use. */
struct target_policy {
	const struct target_spec *excludes; /* processes that match one of these are never chosen */
	size_t exclude_cnt;
	struct containers *containers; /* names and labels; NULL: containers have none */
	struct languages *languages;   /* NULL: files are looked at anew */
	/* A process that carries a tracer of its own is not chosen, since its work would be reported twice. True: it is. */
	bool trace_instrumented;
};

/* Whether a process that its targets ask for may be chosen. When not, p->skipped says why in words. */
struct listeners;
bool policy_admits(const struct target_policy *policy, struct proc *p, struct listeners *l);

/* Which tracer the process carries, and by what that is known, as "ddtrace (PYTHONPATH)"; false: none that shows. Looked
 * at are its arguments, its environment and the files it has mapped; a library that is merely installed, or linked into a
 * Go program, does not count, nor does a tracer that is switched off (DD_TRACE_ENABLED=false, OTEL_SDK_DISABLED=true). */
bool instrumented_find(struct proc *p, struct sbuf *ret);

#endif
