/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_CONFINEMENT_H
#define APP_CONFINEMENT_H

#include "app/session.h"
#include "base/confine.h"

/* Which privileges a session keeps once it runs (base/confine.h is the mechanism).
 *
 * The programs are loaded and the receivers open by then; what is still to come is attaching to further processes, and
 * looking at them. Kept for good, as far as there: CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH,
 * CAP_CHECKPOINT_RESTORE. Kept when needed:
 * - CAP_SYS_ADMIN: a probe of our own cannot be attached without it (tried, after giving it up in effect), or connections are to
 *   be enrolled with a verdict program, which takes a thread into the network namespace they are in (kernel/enrol.c);
 * - CAP_SYS_RESOURCE: links by perf events, which take a file each and may have to raise the limit;
 * - CAP_KILL: `run`, whose signals go to a child that may have changed its user;
 * - CAP_DAC_OVERRIDE: a socket or file of somebody else's is still to be opened or removed. */

struct privilege {
	int number;
	const char *name, *needed_for;
	const char *kept; /* by a session: "always", "when ..."; NULL: given up */
};
extern const struct privilege privileges[];
extern const unsigned privilege_cnt;

/* "capabilities,seccomp", "all", "none" -> enum confine_part. -EINVAL: no such part. */
int confinement_parse(const char *text, unsigned *ret_parts);

/* What a session will have to do. */
struct confinement_needs {
	enum link_kind link;
	bool has_child;
	bool enters_networks; /* other network namespaces */
};

/* Confines the calling thread, and those it makes from now on. Says at debug level what it kept, and what could not be
 * done; as a warning when `asked` for by name. */
void confinement_enter(const struct confinement_needs *needs, bool asked);

/* What a session is confined by, in force: capabilities that the calling thread has, parts that were taken of it and of the
 * threads that talk to receivers. */
void confinement_status_json(struct sbuf *out);

/* For `info`. */
void confinement_print(struct sbuf *out);
void confinement_json(struct sbuf *out);

#endif
