/* SPDX-License-Identifier: Apache-2.0 */
/* GET /info: at start, and whenever a reply carries another Datadog-Agent-State than the answer we have. The state also
 * changes when nothing else did (Agent 7.85 prints a list in random order at each start): it says "ask", not "changed".
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "export/datadog_private.h"

void datadog_ask_info(struct exporter *e)
{
	static const char *const no_headers[] = {NULL};
	if (e->info_flying || !e->info_due)
		return;
	e->info_request.path = "/info";
	e->info_request.headers = no_headers;
	e->info_request.timeout_ns = e->timeout_ns;
	if (http_start(e->http, &e->info_request) < 0)
		return;
	e->info_flying = true;
	e->info_due = false;
}

void datadog_state_seen(struct exporter *e, const char *state)
{
	/* Nothing is known yet: it is there now; it was not when it was asked. */
	if ((!e->info && !e->no_info) || (state[0] && strcmp(e->info_state, state)))
		e->info_due = true;
}

bool datadog_may_v05(const struct exporter *e)
{
	return e->want_v05 && !e->refused_v05 && (!e->info || agent_info_serves(e->info, SV("/v0.5/traces")));
}

static void info_take(struct exporter *e, struct agent_info *info)
{
	agent_info_unref(e->info);
	e->info = info;
	e->no_info = !info;
	e->refused_v05 = false;
	e->buffer.payload_max = e->payload_limit;
	if (info && info->max_request_bytes && info->max_request_bytes < e->payload_limit)
		e->buffer.payload_max = (size_t)info->max_request_bytes;
	e->buffer.payload_sz =
		e->buffer.payload_max < DATADOG_PAYLOAD_SZ ? e->buffer.payload_max : (size_t)DATADOG_PAYLOAD_SZ;
	e->buffer.format = datadog_may_v05(e) ? PAYLOAD_V05 : PAYLOAD_V04;
	e->buffer.native_events = info && info->span_events;
	if (e->listener && e->listener->info)
		e->listener->info(e->listener->arg, info);
}

void datadog_info_landed(struct exporter *e)
{
	const struct http_request *r = &e->info_request;
	struct agent_info *info = NULL;
	struct sbuf err = {0};
	e->info_flying = false;
	/* Whether somebody is there at all is for the spans to find out, and to say. */
	if (r->outcome != HTTP_REPLIED || r->status >= 500)
		return;
	if (r->status != 200)
		sbuf_addf(&err, "HTTP %ld", r->status);
	else if (agent_info_parse(&info, sbuf_sv(&r->reply), &err) == -ENOMEM)
		return;
	/* An Agent before 7.28 has no /info: v0.4 without statistics is right for it. */
	if (!info && r->status != 404 && !e->info_said) {
		e->info_said = true;
		datadog_say(e,
			    "the Datadog Agent at %s does not say what it can do (GET /info: %s): spans are sent as "
			    "v0.4 and without statistics",
			    e->url.shown, sbuf_str(&err));
	}
	sbuf_release(&err);
	snprintf(e->info_state, sizeof(e->info_state), "%s", r->agent_state);
	info_take(e, info);
}

int datadog_probe(const char *url, unsigned timeout_ms, struct sbuf *ret_info, struct sbuf *err)
{
	struct agent_url where;
	int r = agent_url_find(&where, url, err);
	if (r < 0)
		return r;
	struct sbuf body = {0}, why = {0};
	r = http_get(&where, "/info", (uint64_t)timeout_ms * NSEC_PER_MSEC, &body, &why);
	/* Anything may listen on 8126; what answers /info with an object that names endpoints is an Agent. */
	bool agent = r == 200 && body.len && body.data[0] == '{' && strstr(body.data, "\"endpoints\"");
	if (agent) {
		if (ret_info)
			sbuf_addsv(ret_info, sbuf_sv(&body));
		r = 0;
	} else if (r < 0) {
		sbuf_addf(err, "no Datadog Agent answers at %s: %s", where.shown, sbuf_str(&why));
	} else {
		sbuf_addf(err, "what answers at %s is not a Datadog Agent (HTTP %d on /info)", where.shown, r);
		r = -EPROTO;
	}
	sbuf_release(&body);
	sbuf_release(&why);
	agent_url_release(&where);
	return r;
}
