/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_TCP_OPTION_H
#define APP_TCP_OPTION_H

#include <stdio.h>

#include "kernel/kernel.h"
#include "target/procfs.h"
#include "target/spec.h"
#include "trace/span.h"

/* Whose requests get TCP options (include/spanhound/option.h), and are heard with theirs. Nothing of what a process does on its
 * sockets stands against it. */

struct tcp_option {
	enum target_option standard; /* of processes whose target does not say; not UNSAID */
	uint32_t styles;	     /* processes without: their propagation style is none of the kernel half's */
	bool off_said;
};

/* Whether anybody may get some: `asked` on the command line, or by the list for all targets or one of them. */
bool tcp_option_wanted(bool asked, enum target_option all, const struct target_spec *targets, size_t cnt);

/* SH_PROCESS_OPTION and what goes with it for a process chosen by `spec`, or 0. */
uint32_t tcp_option_flags(struct tcp_option *t, const struct option_status *status, const struct target_spec *spec,
			  const struct process_info *info);

/* Where a process chosen with these flags listens already; after kernel_choose_process(). */
void tcp_option_listen(struct kernel *k, struct proc *p, uint32_t flags);

void tcp_option_print(const struct tcp_option *t, struct kernel *k, FILE *out);
void tcp_option_json(const struct tcp_option *t, struct kernel *k, struct sbuf *out);

#endif
