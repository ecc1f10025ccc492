/* SPDX-License-Identifier: Apache-2.0 */
#include "export/dogstatsd.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/variables.h"
#include "export/dogstatsd_socket.h"
#include "version.h"

#define MAX_EXTERNAL 1024

struct dogstatsd {
	struct dogstatsd_socket socket;
	struct sbuf tags;   /* common ones, joined */
	struct sbuf packet; /* in the making */
	struct sbuf line;
	size_t packet_max;
	const char *cardinality; /* a literal; NULL: not said */
	bool telemetry;
	uint64_t telemetry_ns; /* when it was last sent */
	struct dogstatsd_stats stats, told;
};

/* --- opening ------------------------------------------------------------------------------------------------------ */

/* DD_CARDINALITY (DATADOG_CARDINALITY): which tags the Agent adds. */
static const char *cardinality_wanted(void)
{
	static const char *const known[] = {"none", "low", "orchestrator", "high"};
	const char *text = variable_get("DD_CARDINALITY");
	if (!text)
		text = variable_get("DATADOG_CARDINALITY");
	for (size_t i = 0; text && i < sizeof(known) / sizeof(known[0]); i++)
		if (strcasecmp(text, known[i]) == 0)
			return known[i];
	return NULL;
}

/* What would end the tag, the field or the message becomes _. */
static void add_clean(struct sbuf *out, struct sv s)
{
	for (size_t i = 0; i < s.len; i++) {
		char c = s.data[i];
		sbuf_addc(out, c == '\n' || c == '\r' || c == '|' || c == ',' || c == '\0' ? '_' : c);
	}
}

int dogstatsd_open(struct dogstatsd **ret, const struct dogstatsd_options *o, struct sbuf *err)
{
	struct dogstatsd *d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	int r = dogstatsd_socket_init(&d->socket, o->url, o->agent_port, err);
	if (r < 0) {
		free(d);
		return r;
	}
	const char *entity = variable_get("DD_ENTITY_ID"), *quiet = variable_get("DD_DOGSTATSD_DISABLE_TELEMETRY");
	sbuf_addsv(&d->tags, o->tags);
	if (entity) {
		sbuf_adds(&d->tags, d->tags.len ? ",dd.internal.entity_id:" : "dd.internal.entity_id:");
		add_clean(&d->tags, sv_of(entity));
	}
	d->cardinality = cardinality_wanted();
	d->packet_max = d->socket.is_unix ? DOGSTATSD_UDS_MAX : DOGSTATSD_UDP_MAX;
	d->telemetry = o->telemetry && !(quiet && (strcasecmp(quiet, "true") == 0 || strcmp(quiet, "1") == 0));
	d->telemetry_ns = clock_mono_ns();
	*ret = d;
	return 0;
}

void dogstatsd_agent_port(struct dogstatsd *d, uint16_t port)
{
	dogstatsd_socket_agent_port(&d->socket, port);
}

/* --- a message ---------------------------------------------------------------------------------------------------- */

static void add_name(struct sbuf *out, struct sv name)
{
	for (size_t i = 0; i < name.len; i++) {
		char c = name.data[i];
		bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
			    c == '.';
		sbuf_addc(out, good ? c : '_');
	}
}

/* The shortest text that reads back as the same number. */
static void add_number(struct sbuf *out, double v)
{
	char text[32];
	if (v == floor(v) && fabs(v) < 1e15) {
		sbuf_addi(out, (int64_t)v);
		return;
	}
	for (int digits = 6; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, v);
		if (strtod(text, NULL) == v)
			break;
	}
	sbuf_adds(out, text);
}

static void add_tags(struct dogstatsd *d, const struct dogstatsd_metric *m)
{
	if (d->tags.len == 0 && m->tag_cnt == 0)
		return;
	sbuf_adds(&d->line, "|#");
	sbuf_addsv(&d->line, sbuf_sv(&d->tags));
	for (unsigned i = 0; i < m->tag_cnt; i++) {
		if (i || d->tags.len)
			sbuf_addc(&d->line, ',');
		add_clean(&d->line, m->tags[i].key);
		if (m->tags[i].value.len == 0)
			continue;
		sbuf_addc(&d->line, ':');
		add_clean(&d->line, m->tags[i].value);
	}
}

static void add_origin(struct dogstatsd *d, const struct process_info *who)
{
	if (who && who->container_id.len) {
		sbuf_adds(&d->line, "|c:ci-");
		add_clean(&d->line, who->container_id);
	} else if (who && who->cgroup_inode) {
		sbuf_addf(&d->line, "|c:in-%llu", (unsigned long long)who->cgroup_inode);
	}
	if (who && who->external_env.len && who->external_env.len <= MAX_EXTERNAL) {
		sbuf_adds(&d->line, "|e:");
		for (size_t i = 0; i < who->external_env.len; i++) {
			char c = who->external_env.data[i];
			if (c >= ' ' && c < 0x7f && c != '|')
				sbuf_addc(&d->line, c);
		}
	}
	if (d->cardinality)
		sbuf_addf(&d->line, "|card:%s", d->cardinality);
}

#define NUMBER_MAX 26 /* bytes of one value with its colon */

static bool is_good(const struct dogstatsd_metric *m)
{
	bool good = m->name.len && m->value_cnt;
	for (unsigned i = 0; i < m->value_cnt; i++)
		good &= isfinite(m->values[i]);
	return good;
}

/* A message with the first `cnt` values. False: no packet holds it. */
static bool line_make(struct dogstatsd *d, const struct dogstatsd_metric *m, unsigned cnt)
{
	static const char *const types[] = {"c", "g", "h", "d", "ms"};
	sbuf_reset(&d->line);
	add_name(&d->line, m->name);
	for (unsigned i = 0; i < cnt; i++) {
		sbuf_addc(&d->line, ':');
		add_number(&d->line, m->values[i]);
	}
	sbuf_addf(&d->line, "|%s", types[m->type]);
	if (m->rate > 0 && m->rate < 1 && m->type != DOGSTATSD_GAUGE) {
		sbuf_adds(&d->line, "|@");
		add_number(&d->line, m->rate);
	}
	add_tags(d, m);
	add_origin(d, m->origin);
	if (m->timestamp > 0 && m->type <= DOGSTATSD_GAUGE)
		sbuf_addf(&d->line, "|T%lld", (long long)m->timestamp);
	return !d->line.failed && d->line.len <= d->packet_max;
}

/* --- packets ------------------------------------------------------------------------------------------------------ */

static void packet_send(struct dogstatsd *d, uint64_t now_ns)
{
	if (d->packet.len == 0)
		return;
	if (dogstatsd_socket_send(&d->socket, d->packet.data, d->packet.len, now_ns) == 0) {
		d->stats.packets_sent++;
		d->stats.bytes_sent += d->packet.len;
	} else {
		d->stats.packets_dropped++;
		d->stats.bytes_dropped += d->packet.len;
	}
	sbuf_reset(&d->packet);
}

/* How many values a message surely takes beside name and tags: what one without values leaves. */
static unsigned values_per_line(struct dogstatsd *d, const struct dogstatsd_metric *m)
{
	if (!line_make(d, m, 0) || d->line.len + NUMBER_MAX > d->packet_max)
		return 1;
	return (unsigned)((d->packet_max - d->line.len) / NUMBER_MAX);
}

static void add_line(struct dogstatsd *d, const struct dogstatsd_metric *m, unsigned cnt, uint64_t now_ns)
{
	if (!line_make(d, m, cnt)) {
		d->stats.refused++;
		return;
	}
	d->stats.metrics++;
	if (d->packet.len && d->packet.len + 1 + d->line.len > d->packet_max)
		packet_send(d, now_ns);
	if (d->packet.len)
		sbuf_addc(&d->packet, '\n');
	sbuf_addsv(&d->packet, sbuf_sv(&d->line));
}

static void add_at(struct dogstatsd *d, const struct dogstatsd_metric *m, uint64_t now_ns)
{
	struct dogstatsd_metric part = *m;
	if (!is_good(m)) {
		d->stats.refused++;
		return;
	}
	unsigned most = m->value_cnt > 1 ? values_per_line(d, m) : 1;
	for (unsigned left = m->value_cnt; left; part.values += part.value_cnt, left -= part.value_cnt) {
		part.value_cnt = left < most ? left : most;
		add_line(d, &part, part.value_cnt, now_ns);
	}
}

void dogstatsd_add(struct dogstatsd *d, const struct dogstatsd_metric *m)
{
	add_at(d, m, clock_mono_ns());
}

void dogstatsd_count(struct dogstatsd *d, struct sv name, double value)
{
	dogstatsd_add(
		d, &(struct dogstatsd_metric){.name = name, .type = DOGSTATSD_COUNT, .values = &value, .value_cnt = 1});
}

void dogstatsd_gauge(struct dogstatsd *d, struct sv name, double value)
{
	dogstatsd_add(
		d, &(struct dogstatsd_metric){.name = name, .type = DOGSTATSD_GAUGE, .values = &value, .value_cnt = 1});
}

/* What the client libraries of Datadog count about themselves, since it was last told. */
static void telemetry_add(struct dogstatsd *d, uint64_t now_ns)
{
	const struct dogstatsd_stats s = d->stats;
	const struct {
		const char *name;
		uint64_t now, told;
	} counters[] = {
		{"datadog.dogstatsd.client.metrics", s.metrics, d->told.metrics},
		{"datadog.dogstatsd.client.packets_sent", s.packets_sent, d->told.packets_sent},
		{"datadog.dogstatsd.client.bytes_sent", s.bytes_sent, d->told.bytes_sent},
		{"datadog.dogstatsd.client.packets_dropped", s.packets_dropped, d->told.packets_dropped},
		{"datadog.dogstatsd.client.packets_dropped_writer", s.packets_dropped, d->told.packets_dropped},
		{"datadog.dogstatsd.client.bytes_dropped", s.bytes_dropped, d->told.bytes_dropped},
		{"datadog.dogstatsd.client.bytes_dropped_writer", s.bytes_dropped, d->told.bytes_dropped},
	};
	const struct tag tags[] = {
		{SV("client"), SV("spanhound")},
		{SV("client_version"), SV(SPANHOUND_VERSION)},
		{SV("client_transport"), !d->socket.is_unix ? SV("udp")
					 : d->socket.stream ? SV("uds-stream")
							    : SV("uds")},
	};
	d->told = s;
	d->telemetry_ns = now_ns;
	for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
		double v = (double)(counters[i].now - counters[i].told);
		add_at(d,
		       &(struct dogstatsd_metric){.name = sv_of(counters[i].name),
						  .values = &v,
						  .value_cnt = 1,
						  .tags = tags,
						  .tag_cnt = 3},
		       now_ns);
	}
	/* They are not about themselves. */
	d->told.metrics += d->stats.metrics - s.metrics;
}

void dogstatsd_flush(struct dogstatsd *d, uint64_t now_ns)
{
	if (d->telemetry && now_ns >= d->telemetry_ns + DOGSTATSD_TELEMETRY_S * NSEC_PER_SEC)
		telemetry_add(d, now_ns);
	packet_send(d, now_ns);
}

void dogstatsd_stats(const struct dogstatsd *d, struct dogstatsd_stats *ret)
{
	*ret = d->stats;
}

const char *dogstatsd_shown(const struct dogstatsd *d)
{
	return d->socket.shown;
}

void dogstatsd_close(struct dogstatsd *d)
{
	if (!d)
		return;
	packet_send(d, clock_mono_ns());
	dogstatsd_socket_release(&d->socket);
	sbuf_release(&d->tags);
	sbuf_release(&d->packet);
	sbuf_release(&d->line);
	free(d);
}
