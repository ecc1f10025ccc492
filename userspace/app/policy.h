/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_POLICY_H
#define APP_POLICY_H

#include "app/container_runtime.h"
#include "probe/list.h"
#include "target/policy.h"

/* What all commands that choose processes share: where /proc is, what is excluded, who knows containers by name. */
struct policy {
	struct target_policy target;
	struct container_runtime *runtime; /* NULL: nobody is asked for names */
};

/* The directory that shows processes: HOST_PROC if it is set, else /proc. */
const char *proc_root(void);

/* 0; -EINVAL with a sentence in err; -ENOMEM. A runtime is asked only when a target or an exclusion needs names, or
 * `names` is true. The list's specs are not touched. */
int policy_open(struct policy *p, const struct probe_list *list, bool names, struct sbuf *err);
/* Every target and exclusion of the list is judged by it from now on. */
void policy_apply(struct policy *p, struct probe_list *list);
/* By none any more: before it is released, where the list lives on. */
void policy_forget(struct probe_list *list);
void policy_release(struct policy *p);
/* Waits until what was wanted so far is known: at most timeout_ms. False: it took longer. */
bool policy_wait(struct policy *p, int timeout_ms);

/* Whether pids that the kernel tells us are those of proc_root(): the root shows the initial PID namespace. 0; else -EINVAL
 * and what is to be done, in err. */
int policy_check_pids(struct sbuf *err);

#endif
