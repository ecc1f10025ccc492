/* SPDX-License-Identifier: Apache-2.0 */
#include "app/exporters.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "export/datadog.h"

#define PROBE_TIMEOUT_MS 300

static int unknown_exporter(struct sv name, struct sbuf *err)
{
	sbuf_addf(err, "unknown exporter '" SV_FMT "'; there are:", SV_ARG(name));
	for (unsigned i = 0; i < exporter_registry_cnt; i++)
		sbuf_addf(err, " %s", exporter_registry[i]->name);
	sbuf_adds(err, " capture");
	return -EINVAL;
}

static int exporter_open(struct sv text, struct export_sink *ret, struct sbuf *err)
{
	const char *colon = memchr(text.data, ':', text.len);
	struct sv name = {text.data, colon ? (size_t)(colon - text.data) : text.len};
	__cleanup(freep) char *argument = NULL;
	if (colon)
		argument = strndup(colon + 1, text.len - name.len - 1);
	ret->ops = exporter_find(name);
	if (!ret->ops)
		return unknown_exporter(name, err);
	return ret->ops->open(&ret->exporter, argument, err);
}

int exporters_open(const struct sv_vec *names, struct export_sink *ret_sinks, unsigned *ret_cnt, struct sbuf *err)
{
	int rc = 0;
	unsigned cnt = 0;

	for (size_t i = 0; i < names->cnt && rc == 0; i++) {
		if (cnt == EXPORTERS_MAX) {
			sbuf_addf(err, "more than %d exporters", EXPORTERS_MAX);
			rc = -E2BIG;
			break;
		}
		rc = exporter_open(names->data[i], &ret_sinks[cnt], err);
		cnt += rc == 0;
	}
	if (rc == 0 && !names->cnt) {
		struct sbuf absent = {0};
		struct sv name =
			datadog_probe(NULL, PROBE_TIMEOUT_MS, NULL, &absent) == 0 ? SV("datadog") : SV("console");
		sbuf_release(&absent);
		rc = exporter_open(name, &ret_sinks[0], err);
		cnt = rc == 0;
	}
	for (unsigned i = 0; rc < 0 && i < cnt; i++)
		ret_sinks[i].ops->close(ret_sinks[i].exporter);
	*ret_cnt = rc < 0 ? 0 : cnt;
	return rc;
}

bool exporters_have_agent(const struct export_sink *sinks, unsigned cnt)
{
	for (unsigned i = 0; i < cnt; i++)
		if (!strcmp(sinks[i].ops->name, "datadog"))
			return true;
	return false;
}
