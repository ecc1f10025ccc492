/* SPDX-License-Identifier: Apache-2.0 */
#include "target/runtime/runtime.h"

void runtime_report_process(const struct runtime_report *r, unsigned covered)
{
	double user = runtime_user_s(r), system = runtime_system_s(r);
	const struct {
		unsigned fact;
		const char *name;
		double value;
	} metrics[] = {
		{RUNTIME_CPU, "runtime.process.cpu.time.user", user},
		{RUNTIME_CPU, "runtime.process.cpu.time.sys", system},
		{RUNTIME_CPU, "runtime.process.cpu.percent", (user + system) / r->elapsed_s * 100},
		{RUNTIME_SWITCHES, "runtime.process.cpu.ctx_switch.voluntary",
		 runtime_since(r->now->voluntary, r->before->voluntary)},
		{RUNTIME_SWITCHES, "runtime.process.cpu.ctx_switch.involuntary",
		 runtime_since(r->now->involuntary, r->before->involuntary)},
		{RUNTIME_THREADS, "runtime.process.thread_count", r->now->threads},
		{RUNTIME_RSS, "runtime.process.mem.rss", (double)r->now->rss},
		{r->now->fds >= 0 ? RUNTIME_FDS : 0, "runtime.process.open_fds", (double)r->now->fds},
	};
	for (size_t i = 0; i < sizeof(metrics) / sizeof(metrics[0]); i++)
		if (metrics[i].fact & ~covered)
			r->emit(r->arg, metrics[i].name, RUNTIME_GAUGE, metrics[i].value);
}
