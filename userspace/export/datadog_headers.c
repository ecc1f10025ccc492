/* SPDX-License-Identifier: Apache-2.0 */
/* The headers of a request: those of the processes it is about, never of ourselves (Agent 7.85,
 * pkg/trace/api/internal/header/headers.go). */
#include <stdio.h>

#include "export/datadog_private.h"

static void header(struct header_lines *h, const char *name, struct sv value)
{
	/* What does not fit or could end the line is left out: none of it is needed to take the spans. */
	if (value.len == 0 || value.len > 200 || h->cnt == DATADOG_MAX_HEADERS)
		return;
	for (size_t i = 0; i < value.len; i++)
		if ((unsigned char)value.data[i] < ' ' || value.data[i] == 0x7f)
			return;
	snprintf(h->lines[h->cnt], sizeof(h->lines[0]), "%s: " SV_FMT, name, SV_ARG(value));
	h->lines_at[h->cnt] = h->lines[h->cnt];
	h->lines_at[++h->cnt] = NULL;
}

static void header_number(struct header_lines *h, const char *name, uint64_t value)
{
	char text[32];
	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	header(h, name, sv_of(text));
}

/* Without an entity id an Agent behind a socket takes ours, found by our pid, for theirs. */
static void headers_of_process(struct header_lines *h, const struct process_info *who)
{
	char text[128];
	h->cnt = 0;
	h->lines_at[0] = NULL;
	header(h, "Content-Type", SV("application/msgpack"));
	header(h, "Datadog-Meta-Lang", who->language);
	header(h, "Datadog-Meta-Lang-Version", who->language_version);
	header(h, "Datadog-Meta-Lang-Interpreter", who->interpreter);
	header(h, "Datadog-Meta-Tracer-Version", SV(SPANHOUND_VERSION));
	if (who->container_id.len && who->container_id.len <= 96) {
		snprintf(text, sizeof(text), "ci-" SV_FMT, SV_ARG(who->container_id));
		header(h, "Datadog-Container-ID", who->container_id);
		header(h, "Datadog-Entity-ID", sv_of(text));
	} else if (who->cgroup_inode) {
		snprintf(text, sizeof(text), "in-%llu", (unsigned long long)who->cgroup_inode);
		header(h, "Datadog-Entity-ID", sv_of(text));
	}
	header(h, "Datadog-External-Env", who->external_env);
}

void headers_of_traces(struct header_lines *h, const struct payload *p, const char *rates_version)
{
	headers_of_process(h, p->who);
	header_number(h, "X-Datadog-Trace-Count", p->chunks.cnt);
	header(h, "Datadog-Send-Real-Http-Status", SV("1"));
	header(h, "Datadog-Client-Computed-Top-Level", SV("yes"));
	if (p->counted) {
		header(h, "Datadog-Client-Computed-Stats", SV("yes"));
		header_number(h, "Datadog-Client-Dropped-P0-Traces", p->dropped_traces);
		header_number(h, "Datadog-Client-Dropped-P0-Spans", p->dropped_spans);
	}
	header(h, "Datadog-Rates-Payload-Version", sv_of(rates_version));
}

void headers_of_stats(struct header_lines *h, const struct datadog_stats *s)
{
	headers_of_process(h, s->who);
	if (s->obfuscated)
		header(h, "Datadog-Obfuscation-Version", SV("1"));
}
