/* SPDX-License-Identifier: Apache-2.0 */
#include "target/runtime/runtime.h"

#define RUNTIME(name) extern const struct runtime_ops runtime_##name;
#include "target/runtime/runtimes.def"
#undef RUNTIME

const struct runtime_ops *const runtime_registry[] = {
#define RUNTIME(name) &runtime_##name,
#include "target/runtime/runtimes.def"
#undef RUNTIME
};
const unsigned runtime_registry_cnt = sizeof(runtime_registry) / sizeof(runtime_registry[0]);

void runtime_report(struct sv language, const struct runtime_report *r)
{
	unsigned covered = 0;
	for (unsigned i = 0; i < runtime_registry_cnt; i++)
		if (sv_eq(language, sv_of(runtime_registry[i]->language)))
			covered = runtime_registry[i]->report(r);
	runtime_report_process(r, covered);
}
