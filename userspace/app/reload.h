/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_RELOAD_H
#define APP_RELOAD_H

#include "app/session.h"
#include "probe/list_merge.h"

/* Changing what a daemon traces while it does. A change is checked whole before anything of it is done: either all of it
 * holds from then on, or nothing changed. Runs on the supervisor. */
struct reload {
	VEC(struct probe_list *) kept; /* lists whose strings are in use */
	uint64_t done, refused;
	bool bad;	   /* the file, as last read, was refused */
	struct sbuf error; /* why */
};

void reload_release(struct reload *r);

/* Now and then: what a change took away is given back once nobody uses it. */
void reload_tick(struct reload *r, struct session *s);

/* Attaches and detaches what the list asks for now, less what the guard rails took off. */
void reload_plan(struct session *s);

enum reload_end {
	RELOAD_SAME,	/* nothing is different */
	RELOAD_DONE,	/* *ret_what says what */
	RELOAD_REFUSED, /* r->error says why; nothing changed */
};

/* Reads the session's configuration again. */
enum reload_end reload_file(struct reload *r, struct session *s, struct sbuf *ret_what);
/* Adds the probes of a YAML text (`probes:` alone), or takes one of those away. */
enum reload_end reload_add_probes(struct reload *r, struct session *s, struct sv yaml, struct sbuf *ret_what);
enum reload_end reload_remove_probe(struct reload *r, struct session *s, uint32_t index, struct sbuf *ret_what);

#endif
