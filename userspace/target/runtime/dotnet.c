/* SPDX-License-Identifier: Apache-2.0 */
#include <unistd.h>

#include "target/runtime/runtime.h"

static unsigned dotnet_report(const struct runtime_report *r)
{
	double user = runtime_user_s(r), system = runtime_system_s(r);
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	r->emit(r->arg, "runtime.dotnet.cpu.user", RUNTIME_GAUGE, user * 1000);
	r->emit(r->arg, "runtime.dotnet.cpu.system", RUNTIME_GAUGE, system * 1000);
	r->emit(r->arg, "runtime.dotnet.cpu.percent", RUNTIME_GAUGE,
		(user + system) / r->elapsed_s * 100 / (double)(cpus > 0 ? cpus : 1));
	r->emit(r->arg, "runtime.dotnet.threads.count", RUNTIME_GAUGE, r->now->threads);
	return RUNTIME_CPU | RUNTIME_THREADS;
}

const struct runtime_ops runtime_dotnet = {"dotnet", dotnet_report};
