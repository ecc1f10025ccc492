/* SPDX-License-Identifier: Apache-2.0 */
/* Its collector's own counters (runtime.python.gc.*) are in the interpreter's memory and not read. */
#include "target/runtime/runtime.h"

static unsigned python_report(const struct runtime_report *r)
{
	double user = runtime_user_s(r), system = runtime_system_s(r);
	const struct {
		const char *name;
		double value;
	} metrics[] = {
		{"runtime.python.cpu.time.user", user},
		{"runtime.python.cpu.time.sys", system},
		{"runtime.python.cpu.percent", (user + system) / r->elapsed_s * 100},
		{"runtime.python.cpu.ctx_switch.voluntary", runtime_since(r->now->voluntary, r->before->voluntary)},
		{"runtime.python.cpu.ctx_switch.involuntary",
		 runtime_since(r->now->involuntary, r->before->involuntary)},
		{"runtime.python.thread_count", r->now->threads},
		{"runtime.python.mem.rss", (double)r->now->rss},
	};
	for (size_t i = 0; i < sizeof(metrics) / sizeof(metrics[0]); i++)
		r->emit(r->arg, metrics[i].name, RUNTIME_DISTRIBUTION, metrics[i].value);
	return RUNTIME_CPU | RUNTIME_SWITCHES | RUNTIME_RSS | RUNTIME_THREADS;
}

const struct runtime_ops runtime_python = {"python", python_report};
