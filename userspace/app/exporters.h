/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_EXPORTERS_H
#define APP_EXPORTERS_H

#include "export/exporter.h"
#include "probe/list.h"

#define EXPORTERS_MAX 8

/* Opens what --export named ("name" or "name:argument"). With none: the Datadog Agent if one answers, else the console.
 * On failure nothing stays open. */
int exporters_open(const struct sv_vec *names, struct export_sink *ret_sinks, unsigned *ret_cnt, struct sbuf *err);
bool exporters_have_agent(const struct export_sink *sinks, unsigned cnt);

#endif
