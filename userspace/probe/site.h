/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROBE_SITE_H
#define PROBE_SITE_H

#include "binary/ends.h"
#include "binary/placement.h"
#include "probe/module.h"

/* Where a function's entry and end are seen, and how: the decision that keeps targets alive (a return probe can kill
 * a program in which an unwinder walks the stack) and makes probes cheap. */

enum site_end {
	SITE_END_RETURN, /* a return probe, or a session link */
	SITE_END_SITES,	 /* a probe on each of the function's own ends */
	SITE_END_NONE,	 /* entry only */
};

struct site_end_probe {
	uint64_t offset; /* in the file */
	uint64_t target; /* ELF address a tail jump goes to; 0: a return, or it cannot be told */
	bool jump;	 /* not a return */
	bool conditional;
	uint8_t condition; /* of a conditional jump: x86 condition code */
	enum placement_cost cost;
};

struct site {
	uint64_t offset; /* of the entry probe, in the file */
	enum placement_cost cost;
	enum site_end end;
	VEC(struct site_end_probe) ends; /* of SITE_END_SITES */
	/* Why there is no probe at all, or why none at the end, or none at return; NULL: no reason to give. */
	const char *refused;
	const char *entry_only;
	const char *no_return;
};

enum site_ends_wanted { SITE_AUTO, SITE_RETURN_ONLY, SITE_SITES_ONLY };

struct site_options {
	struct cost_kernel cost;
	enum site_ends_wanted wanted;
	uint16_t keep;	       /* registers the probe reads, as placement_options.keep */
	bool session;	       /* return probes of a session link can be declined call by call */
	uint32_t traits;       /* module_trait of all modules of the processes concerned */
	const char *no_return; /* why no return probe may be used in these processes at all (seccomp), or NULL */
};

/* Scratch for site_find(), kept from function to function. */
struct site_finder;
struct site_finder *site_finder_new(void);
void site_finder_free(struct site_finder *f); /* NULL is fine */

/* Decides for one function. 0 or -ENOMEM; `ret` is zeroed first. */
int site_find(struct site_finder *f, struct module *m, const struct symbol *s, const struct site_options *options,
	      struct site *ret);
void site_release(struct site *s);
const char *site_end_name(enum site_end end);

#endif
