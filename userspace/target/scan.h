/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TARGET_SCAN_H
#define TARGET_SCAN_H

#include "base/vec.h"
#include "target/match.h"

/* One look at all processes. Kernel threads, zombies and ourselves are left out; what starts or ends meanwhile may or
 * may not be seen, so subscribe to exec events first and scan then. */

struct scan_match {
	int pid;
	uint32_t spec; /* index of the first spec that matches */
	uint64_t start_ticks;
};

struct scan {
	struct scan_match *data; /* the matches, by pid */
	size_t cnt, cap;
	size_t *per_spec; /* matches of each spec, also those an earlier spec matched too */
	size_t seen;	  /* processes looked at */
	size_t denied;	  /* of these, not matched, and something of them could not be read: run with more rights */
	/* Asked for, but not to be chosen (target/policy.h); the first SCAN_MAX_SKIPPED of them. */
	struct scan_skip {
		int pid;
		char why[96];
	} * skipped;
	size_t skipped_cnt, skipped_cap;
	size_t overflow; /* matches beyond SCAN_MAX_MATCHES: left out */
};
#define SCAN_MAX_SKIPPED 256
#define SCAN_MAX_MATCHES 8192  /* SH_MAX_PROCESSES of spanhound/limits.h */

/* Into a zeroed or released `ret`. 0; -errno when `root` itself cannot be read, described into err. */
int scan_processes(const char *root, const struct target_spec *specs, size_t spec_cnt, struct scan *ret,
		   struct sbuf *err);
void scan_release(struct scan *s);

/* Why nothing matched this spec, in one line without its end: what was looked for and the nearest thing there is:
 *   "no process matches name 'ngnix'; similar names running: nginx, nginx-exporter"
 *   "no process 4242: it is a thread of process 4240 (redis-server)"
 *   "no process listens on port 8081; ports listened on: 80 (nginx), 8080 (java)"
 * `denied` is scan.denied. */
void scan_explain(const char *root, const struct target_spec *spec, size_t denied, struct sbuf *out);

/* Calls back for each process but kernel threads, zombies and ourselves, until it returns something else than 0: that is
 * the result. -errno when `root` cannot be read, described into err, which may be NULL. */
int scan_each(const char *root, int (*visit)(void *arg, struct proc *p), void *arg, struct sbuf *err);

#endif
