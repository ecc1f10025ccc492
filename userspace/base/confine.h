/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CONFINE_H
#define BASE_CONFINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/sbuf.h"

/* What a thread of ours gives up for good, so that foreign bytes that get the better of it get little else.
 *
 * All of it is a thread's own (credentials(7), seccomp(2), landlock(7)), and inherited by those it makes; the first thread
 * gives up its part when all that needs more is done, workers before they do anything. Nothing is given up by a process
 * that was not told to: replay, tests, and the child that `run` forks before its parent is confined.
 *
 * - Capabilities: what is not asked for goes from the effective, permitted, inheritable, ambient and (with CAP_SETPCAP)
 *   bounding sets, and no_new_privs is set.
 * - seccomp: a list of system calls (confine_syscalls.def) is let through, any other fails with EPERM, and the kernel's
 *   audit log says which: a tracer that is killed by its filter would be worse than one that logs an error.
 * - Landlock: no path can be opened for writing, made or removed. Only for workers, which talk to receivers and never look
 *   at a process: a thread under Landlock may not look at /proc/PID/exe, root, ns or map_files of others at all, since the
 *   kernel treats that as tracing somebody who is less confined (seen on 6.18: EACCES, whatever the rules say). */

enum confine_part {
	CONFINE_CAPABILITIES = 1 << 0,
	CONFINE_SECCOMP = 1 << 1,
	CONFINE_LANDLOCK = 1 << 2,
	CONFINE_ALL = (1 << 3) - 1,
};
const char *confine_part_name(enum confine_part part);

/* Which parts confine_worker() and confine_main() are to take. Before the first worker starts. */
void confine_choose(unsigned parts);
unsigned confine_chosen(void);

/* Does this kernel have it? 0, or -errno with the reason. *ret_version: of Landlock's interface, else 0. */
int confine_probe(enum confine_part part, int *ret_version, struct sbuf *err);

/* A socket that will be connected to, a file that will be written and may have to be made, one that will be removed, when
 * we are confined already: where that takes CAP_DAC_OVERRIDE, because it belongs to somebody else, that stays. What is
 * named later than a thread was confined does not count for it. */
#define CONFINE_MAX_PATHS 32 /* beyond: CAP_DAC_OVERRIDE stays */
void confine_will_use(const char *path);
void confine_will_write(const char *path);
void confine_will_remove(const char *path);

/* The effective set of this thread. */
uint64_t confine_capabilities_held(void);
#define CAPABILITY_BIT(number) (1ULL << (number))

/* Only `effective` of what is permitted takes effect; takes nothing for good. 0 or -errno. */
int confine_try_capabilities(uint64_t effective);
/* Does any path of confine_will_use() ask for CAP_DAC_OVERRIDE, besides `keep`? *ret_path: which, for people. */
bool confine_needs_override(uint64_t keep, const char **ret_path);

/* What the first thread gives up: *ret_parts is what was taken, err has a sentence per chosen part that could not be.
 * `keep`: capabilities. */
void confine_main(uint64_t keep, unsigned *ret_parts, struct sbuf *err);
/* The parts that were taken: of the first thread; of workers, by all of them so far (none: 0). */
unsigned confine_taken(bool by_workers);
/* What a thread gives up that only talks to receivers. Says at debug level what cannot be. */
void confine_worker(const char *name);

#endif
