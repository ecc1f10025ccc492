/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Spans of every shape that matters to statistics: their tags as JSON, as an Agent would see them, and what our own
 * statistics make of them, for the Agent's concentrator to compare (concentrator/main.go).
 *
 *   spans SEED TRACES SPANS.json PAYLOADS
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "trace/assembly.h"
#include "trace/stats/stats.h"

#define PICK(list) ((list)[(unsigned)random() % (sizeof(list) / sizeof((list)[0]))])

static struct tag dd_tags[] = {{SV("team"), SV("core")}, {SV("tier"), SV("process")}};
static struct process_info processes[] = {
	{.refs = 1, .service = SV("shop"), .env = SV("prod"), .version = SV("1.2"), .runtime_id = SV("a")},
	{.refs = 1, .service = SV("cart"), .env = SV("dev"), .tags = dd_tags, .tag_cnt = 2},
};

/* Something near an address or a list of them. */
static struct sv random_host(struct arena *arena)
{
	static const char *const pieces[] = {"10",  ".",	"1",	  ":",	     "-",	"_",   ",",
					     "[",   "]",	"%",	  "255",     "a",	"::1", "http://",
					     "ip-", "10.0.0.1", "fe80::", "ftp:///", "dnspoll", "/"};
	char text[64] = "";
	for (int i = (int)(random() % 8) + 1; i > 0; i--)
		strcat(text, PICK(pieces));
	return arena_dup(arena, sv_of(text));
}

static struct tag random_tag(struct arena *arena)
{
	static const char *const kinds[] = {"server",	"client", "producer", "consumer",
					    "internal", "CLIENT", "Server",   ""};
	static const char *const status[] = {"200", "404", "503", "abc", ""};
	static const char *const grpc[] = {"0",	   "NOT_FOUND", "StatusCode.Unavailable", "DeadlineExceeded", "17",
					   "what", ""};
	static const char *const grpc_keys[] = {"rpc.grpc.status_code", "grpc.code", "rpc.grpc.status.code",
						"grpc.status.code"};
	static const char *const hosts[] = {
		"db.local", "10.0.0.1", "10.0.0.1:5432,10.0.0.2:5432", "127.0.0.1", "ip-10-1-2-3.ec2.internal", ""};
	static const char *const words[] = {"gold", "silver", ""};
	switch (random() % 10) {
	case 0:
	case 1:
		return (struct tag){SV("span.kind"), sv_of(PICK(kinds))};
	case 2:
		return (struct tag){SV("http.status_code"), sv_of(PICK(status))};
	case 3:
		return (struct tag){sv_of(PICK(grpc_keys)), sv_of(PICK(grpc))};
	case 4:
		return (struct tag){SV("out.host"), random() % 40 ? sv_of(PICK(hosts)) : random_host(arena)};
	case 5:
		return (struct tag){SV("db.system"), sv_of(PICK(words))};
	case 6:
		return (struct tag){SV("http.method"), SV("GET")};
	case 7:
		return (struct tag){random() % 2 ? SV("http.route") : SV("http.endpoint"), sv_of(PICK(words))};
	case 8:
		return (struct tag){SV("tier"), sv_of(PICK(words))};
	default:
		return (struct tag){SV("code.function"), SV("f")};
	}
}

static struct metric random_metric(void)
{
	switch (random() % 6) {
	case 0:
		return (struct metric){SV("_dd.measured"), (double)(random() % 2)};
	case 1:
		return (struct metric){SV("_dd.partial_version"), (double)(random() % 3) - 1};
	case 2:
		return (struct metric){SV("http.status_code"), (double)(random() % 3) * 200};
	default:
		return (struct metric){SV("thread.id"), 7};
	}
}

static void random_span(struct chunk *c, uint32_t cnt, uint64_t now_ns)
{
	static const char *const services[] = {"", "", "shop", "db", "SHOP"};
	static const char *const names[] = {"web.request", "db.query", "step"};
	static const char *const types[] = {"web", "", "sql"};
	struct span *s = chunk_add(c);
	s->span_id = c->span_cnt;
	s->local_root = c->span_cnt == cnt;
	s->parent_id = s->local_root ? random() % 2 ? 0 : 999 : (uint64_t)(random() % cnt) + 1;
	s->service = sv_of(PICK(services));
	s->name = sv_of(PICK(names));
	s->resource = random() % 3 ? SV("GET /") : SV("");
	s->type = sv_of(PICK(types));
	s->error = random() % 5 == 0;
	s->duration_ns =
		random() % 20 ? (int64_t)(((uint64_t)random() << 31 ^ (uint64_t)random()) >> (random() % 50 + 13)) : 0;
	uint64_t end = now_ns - (uint64_t)(random() % 25) * NSEC_PER_SEC;
	s->start_ns = (int64_t)end - s->duration_ns;
	/* Half of them are much the same, so that there is something to add up. */
	bool plain = random() % 2;
	if (plain) {
		s->service = s->type = SV_NULL;
		s->name = SV("web.request");
	}
	s->tag_cnt = (uint16_t)(plain ? 0 : random() % 7);
	s->metric_cnt = (uint16_t)(plain ? 0 : random() % 3);
	s->tags = arena_alloc(&c->arena, s->tag_cnt * sizeof(*s->tags) + 1);
	s->metrics = arena_alloc(&c->arena, s->metric_cnt * sizeof(*s->metrics) + 1);
	for (uint16_t i = 0; i < s->tag_cnt; i++)
		s->tags[i] = random_tag(&c->arena);
	for (uint16_t i = 0; i < s->metric_cnt; i++)
		s->metrics[i] = random_metric();
}

static void add_field(struct sbuf *out, const char *key, struct sv value)
{
	sbuf_addf(out, ",\"%s\":", key);
	sbuf_add_json(out, value);
}

/* As the Agent gets it: v0.4's fields and the tags of tags.c. */
static void write_span(struct sbuf *out, struct tags *t, uint32_t i)
{
	const struct span *s = &t->chunk->spans[i];
	tags_of(t, i);
	sbuf_addf(out, "{\"Parent\":%llu,\"Start\":%lld,\"Duration\":%lld,\"Error\":%u",
		  (unsigned long long)s->parent_id, (long long)s->start_ns, (long long)s->duration_ns, s->error);
	add_field(out, "Env", t->chunk->process->env);
	add_field(out, "Origin", t->chunk->origin);
	add_field(out, "Service", span_service(t->chunk, s));
	add_field(out, "Name", s->name);
	add_field(out, "Resource", span_resource(s));
	add_field(out, "Type", s->type);
	sbuf_adds(out, ",\"Meta\":{\"\":\"\"");
	vec_foreach (m, &t->meta) {
		sbuf_addc(out, ',');
		sbuf_add_json(out, m->key);
		sbuf_addc(out, ':');
		sbuf_add_json(out, m->value);
	}
	sbuf_adds(out, "},\"Metrics\":{\"\":0");
	vec_foreach (m, &t->metrics) {
		sbuf_addc(out, ',');
		sbuf_add_json(out, m->key);
		sbuf_addf(out, ":%.17g", m->value);
	}
	sbuf_adds(out, "}}\n");
}

int main(int argc, char **argv)
{
	static struct stats_box box;
	static struct sv peers[] = {SV("_dd.base_service"), SV("db.name"), SV("db.system"), SV("out.host"),
				    SV("peer.service")};
	static struct sv additional[] = {SV("tier")};
	struct stats *stats = stats_new(&(struct stats_options){.box = &box});
	struct chunk_pool *pool = chunk_pool_new(1000);
	struct tags tags = {0};
	struct sbuf json = {0};
	if (argc != 5 || !stats || !pool)
		return 2;
	FILE *spans = fopen(argv[3], "w"), *payloads = fopen(argv[4], "w");
	if (!spans || !payloads)
		return 2;
	srandom((unsigned)atoi(argv[1]));
	stats_set_peer_tags(stats, peers, 5);
	stats_set_additional_tags(stats, additional, 1);
	uint64_t now_ns = clock_ns(CLOCK_REALTIME);
	for (int trace = atoi(argv[2]); trace > 0; trace--) {
		struct chunk *c = chunk_pool_get(pool);
		c->process = process_info_ref(&PICK(processes));
		c->trace_lo = (uint64_t)trace;
		c->origin = random() % 4 ? SV_NULL : random() % 2 ? SV("synthetics-browser") : SV("rum");
		for (uint32_t i = 0, cnt = (uint32_t)(random() % 8) + 1; i < cnt; i++)
			random_span(c, cnt, now_ns);
		stats_chunk(stats, c, now_ns);
		tags_start(&tags, c);
		sbuf_reset(&json);
		for (uint32_t i = 0; i < c->span_cnt; i++)
			write_span(&json, &tags, i);
		fwrite(json.data, 1, json.len, spans);
		chunk_pool_put(pool, c);
	}
	stats_flush(stats);
	for (struct stats_payload *p = stats_box_take(&box), *next; p; p = next) {
		uint64_t len = p->body.len;
		next = p->next;
		fwrite(&len, sizeof(len), 1, payloads);
		fwrite(p->body.data, 1, len, payloads);
		stats_payload_free(p);
	}
	/* When it is, for the other side. */
	struct timespec at[2] = {{(time_t)(now_ns / NSEC_PER_SEC), (long)(now_ns % NSEC_PER_SEC)}};
	at[1] = at[0];
	fflush(spans);
	int rc = futimens(fileno(spans), at);
	fclose(spans);
	fclose(payloads);
	sbuf_release(&json);
	tags_release(&tags);
	stats_free(stats);
	chunk_pool_free(pool);
	return rc < 0 ? 1 : 0;
}
