/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TARGET_MATCH_H
#define TARGET_MATCH_H

#include "target/listeners.h"
#include "target/procfs.h"
#include "target/spec.h"

/* Whether this process is one the spec asks for (see struct target_spec for how its parts combine). Reads only what
 * the spec needs, cheapest first. False for processes that are gone, for zombies and kernel threads; what could not
 * be read for lack of permission does not match and sets p->denied. `l` may be NULL: then ports are looked up anew.
 * A program that renames itself after its exec (prctl, setproctitle) is known by what it is called when asked. */
bool target_matches(const struct target_spec *spec, struct proc *p, struct listeners *l);

/* Of several specs the first that matches, as its index, or -1. */
int target_first_match(const struct target_spec *specs, size_t cnt, struct proc *p, struct listeners *l);

/* A process starts listening some time after its exec: with such a spec, looking at the exec alone is not enough. */
static inline bool target_needs_listening(const struct target_spec *spec)
{
	return spec->ports.cnt > 0 || spec->listening;
}

struct entry;
/* The process's executable name (basename; empty when unknown) and entry point. Slices as of struct proc. */
void target_names(struct proc *p, struct sv *ret_exe_name, struct entry *ret_entry);

/* What the program was called when it was executed: a link's name (redis-server is one to redis-check-rdb in Debian) is
 * what people know, and the kernel's comm confirms it; else the executable's name. */
struct sv target_called(struct proc *p, struct sv exe_name);

#endif
