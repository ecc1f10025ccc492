/* SPDX-License-Identifier: Apache-2.0 */
#include "export/exporter.h"

#define EXPORTER(id, name) extern const struct exporter_ops name##_exporter;
#include "export/exporters.def"
#undef EXPORTER

const struct exporter_ops *const exporter_registry[] = {
#define EXPORTER(id, name) &name##_exporter,
#include "export/exporters.def"
#undef EXPORTER
};
const unsigned exporter_registry_cnt = sizeof(exporter_registry) / sizeof(exporter_registry[0]);

const struct exporter_ops *exporter_find(struct sv name)
{
	for (unsigned i = 0; i < exporter_registry_cnt; i++)
		if (sv_eq(name, sv_of(exporter_registry[i]->name)))
			return exporter_registry[i];
	return NULL;
}
