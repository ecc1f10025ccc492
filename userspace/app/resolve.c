/* SPDX-License-Identifier: Apache-2.0 */
#include "app/resolve.h"

#include "app/policy.h"
#include "base/log.h"
#include "target/scan.h"

#define NAMES_TIMEOUT_MS      3000
#define DEFAULT_MAX_FUNCTIONS (1u << 20)

static int resolve_process(struct resolve *r, int pid, int target)
{
	struct sbuf err = {0};
	struct proc p = PROC_INIT;
	if (proc_open(&p, proc_root(), pid) < 0)
		return 0;
	int rc = plan_add(r->plan, &p, target, &err);
	if (rc < 0)
		log_warn("process %d: %s", pid, err.len ? sbuf_str(&err) : strerror(-rc));
	else
		r->processes++;
	proc_close(&p);
	sbuf_release(&err);
	return 0;
}

int resolve_targets(struct resolve *ret, const struct options *o,
		    void (*skipped)(void *arg, struct sv display, struct sv module, const char *why, bool by_name),
		    void *arg, bool must_match)
{
	struct sbuf err = {0};
	struct scan scan = {0};
	/* As on a kernel that can do all: finding out would attach probes. */
	struct plan_options options = {
		.list = o->list,
		.link = LINK_SESSION,
		.ends = o->session.ends,
		.proc_root = proc_root(),
		.max_functions = DEFAULT_MAX_FUNCTIONS,
		.skipped = skipped,
		.arg = arg,
	};
	struct policy policy;
	*ret = (struct resolve){0};
	int rc = policy_open(&policy, o->list, false, &err);
	if (rc < 0) {
		log_error("%s", sbuf_str(&err));
		sbuf_release(&err);
		return SESSION_FAILED;
	}
	policy_apply(&policy, o->list);
	rc = plan_new(&ret->plan, &options, &err);
	if (rc == 0)
		rc = scan_processes(proc_root(), o->list->targets.data, o->list->targets.cnt, &scan, &err);
	if (rc == 0 && policy.runtime) { /* once more, by their names */
		policy_wait(&policy, NAMES_TIMEOUT_MS);
		scan_release(&scan);
		rc = scan_processes(proc_root(), o->list->targets.data, o->list->targets.cnt, &scan, &err);
	}
	for (size_t i = 0; rc == 0 && i < scan.cnt; i++)
		resolve_process(ret, scan.data[i].pid, (int)scan.data[i].spec);
	if (rc < 0)
		log_error("%s", sbuf_str(&err));
	for (size_t i = 0; rc == 0 && must_match && !ret->processes && i < o->list->targets.cnt; i++) {
		sbuf_reset(&err);
		scan_explain(proc_root(), &o->list->targets.data[i], scan.denied, &err);
		log_error("%s", sbuf_str(&err));
	}
	scan_release(&scan);
	sbuf_release(&err);
	policy_forget(o->list);
	policy_release(&policy);
	return rc < 0 ? SESSION_FAILED : ret->processes || !must_match ? SESSION_CLEAN : SESSION_MISTAKE;
}

void resolve_release(struct resolve *r)
{
	plan_free(r->plan);
	sbuf_release(&r->skipped);
}
