/* SPDX-License-Identifier: Apache-2.0 */
/* runtime.MemStats is in the program's memory and not read. */
#include <sched.h>

#include "target/runtime/runtime.h"

static unsigned go_report(const struct runtime_report *r)
{
	cpu_set_t cpus;
	/* What runtime.NumCPU() answers. */
	if (sched_getaffinity(r->proc->pid, sizeof(cpus), &cpus) == 0)
		r->emit(r->arg, "runtime.go.num_cpu", RUNTIME_GAUGE, CPU_COUNT(&cpus));
	return 0;
}

const struct runtime_ops runtime_go = {"go", go_report};
