/* SPDX-License-Identifier: Apache-2.0 */
/* The heap and the event loop (runtime.node.heap.*, .event_loop.*) are V8's and libuv's own and not read. */
#include <sys/sysinfo.h>

#include "target/runtime/runtime.h"

static unsigned node_report(const struct runtime_report *r)
{
	double user = runtime_user_s(r) / r->elapsed_s * 100, system = runtime_system_s(r) / r->elapsed_s * 100;
	struct sysinfo host;
	r->emit(r->arg, "runtime.node.cpu.user", RUNTIME_GAUGE, user);
	r->emit(r->arg, "runtime.node.cpu.system", RUNTIME_GAUGE, system);
	r->emit(r->arg, "runtime.node.cpu.total", RUNTIME_GAUGE, user + system);
	r->emit(r->arg, "runtime.node.mem.rss", RUNTIME_GAUGE, (double)r->now->rss);
	r->emit(r->arg, "runtime.node.process.uptime", RUNTIME_GAUGE, (double)(r->now->age_ns / 1000000000));
	if (sysinfo(&host) == 0) {
		r->emit(r->arg, "runtime.node.mem.total", RUNTIME_GAUGE, (double)host.totalram * host.mem_unit);
		r->emit(r->arg, "runtime.node.mem.free", RUNTIME_GAUGE, (double)host.freeram * host.mem_unit);
	}
	return RUNTIME_CPU | RUNTIME_RSS;
}

const struct runtime_ops runtime_node = {"javascript", node_report};
