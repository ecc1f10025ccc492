/* SPDX-License-Identifier: Apache-2.0 */
#include "target/identify.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "target/entry.h"
#include "target/match.h"
#include "target/policy.h"
#include "target/source.h"
#include "target/text.h"
#include "trace/normalize.h"
#include "trace/request_settings.h"
#include "trace/settings.h"

void uuid_make(char out[UUID_LEN + 1])
{
	unsigned char b[16];
	/* Never short for so few bytes once the pool is ready; a system call filter may forbid it all the same. */
	if (getrandom(b, sizeof(b), 0) != (ssize_t)sizeof(b)) {
		uint64_t mix[2] = {clock_mono_ns() * 0x9e3779b97f4a7c15ULL,
				   clock_ns(CLOCK_REALTIME) ^ (uint64_t)getpid() << 40};
		memcpy(b, mix, sizeof(b));
	}
	b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
	b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
	snprintf(out, UUID_LEN + 1, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
		 b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}

static char hostname[256];

static void hostname_read(void)
{
	if (gethostname(hostname, sizeof(hostname) - 1) < 0)
		hostname[0] = '\0';
}

struct sv identify_hostname(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, hostname_read);
	return sv_of(hostname);
}

/* --- tags ----------------------------------------------------------------------------------------------------------
 */

bool tags_get(const struct tag_vec *tags, const char *key, struct sv *ret)
{
	for (size_t i = 0; i < tags->cnt; i++) {
		if (sv_eq(tags->data[i].key, sv_of(key))) {
			*ret = tags->data[i].value;
			return true;
		}
	}
	return false;
}

/* A key that is there already gets the new value, or keeps its own. */
static int tags_put(struct tag_vec *tags, struct sv key, struct sv value, bool replace)
{
	for (size_t i = 0; i < tags->cnt; i++) {
		if (!sv_eq(tags->data[i].key, key))
			continue;
		if (replace)
			tags->data[i].value = value;
		return 0;
	}
	if (tags->cnt >= IDENTIFY_MAX_TAGS)
		return 0;
	return vec_push(tags, ((struct tag){key, value}));
}

int tags_parse(struct sv text, struct tag_vec *ret)
{
	char separator = text.len && memchr(text.data, ',', text.len) ? ',' : ' ';
	while (text.len) {
		struct sv value = text_trim(text_until(&text, separator));
		struct sv key = text_trim(text_until(&value, ':'));
		if (key.len && tags_put(ret, key, text_trim(value), true))
			return -ENOMEM;
	}
	return 0;
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

/* Attribute values are percent-encoded as in W3C Baggage (OpenTelemetry specification, resource/sdk). */
static struct sv percent_decode(struct sv s, struct arena *arena)
{
	if (!s.len || !memchr(s.data, '%', s.len))
		return s;
	char *out = arena_alloc(arena, s.len);
	size_t n = 0;
	for (size_t i = 0; out && i < s.len; i++) {
		int high = i + 2 < s.len && s.data[i] == '%' ? hex_digit(s.data[i + 1]) : -1;
		int low = high >= 0 ? hex_digit(s.data[i + 2]) : -1;
		if (low >= 0) {
			out[n++] = (char)(high << 4 | low);
			i += 2;
		} else {
			out[n++] = s.data[i];
		}
	}
	return out ? (struct sv){out, n} : SV_NULL;
}

/* "key=value,key=value" of OTEL_RESOURCE_ATTRIBUTES. */
static int otel_parse(struct sv text, struct arena *arena, struct tag_vec *ret)
{
	while (text.len) {
		struct sv value = text_until(&text, ',');
		struct sv key = text_trim(text_until(&value, '='));
		if (key.len && tags_put(ret, key, percent_decode(text_trim(value), arena), true))
			return -ENOMEM;
	}
	return 0;
}

/* --- what the environment says -------------------------------------------------------------------------------------
 */

struct identity {
	struct sv service, env, version;
	struct sv base_service; /* before a mapping; empty: there is none */
	struct identify_details from;
	bool service_told; /* by the environment or by us, not inferred */
	struct tag_vec tags;
	struct arena arena;
};

/* The first of these that is there and not empty. */
static void settle(struct sv *value, const char **from, bool found, struct sv candidate, const char *said_by)
{
	if (value->len || !found)
		return;
	*value = text_trim(candidate);
	*from = value->len ? said_by : NULL;
}

static bool env_value(struct sv vars, const char *name, struct sv *ret)
{
	return environ_get(vars, name, ret) && ret->len;
}

static bool reserved(struct sv key)
{
	return sv_eq(key, SV("service")) || sv_eq(key, SV("env")) || sv_eq(key, SV("version")) ||
	       sv_eq(key, SV("service.name")) || sv_eq(key, SV("service.version")) ||
	       sv_eq(key, SV("deployment.environment")) || sv_eq(key, SV("deployment.environment.name"));
}

static int add_tags(struct identity *id, const struct tag_vec *from, size_t max)
{
	for (size_t i = 0, added = 0; i < from->cnt && added < max; i++) {
		if (reserved(from->data[i].key))
			continue;
		if (tags_put(&id->tags, from->data[i].key, from->data[i].value, false))
			return -ENOMEM;
		added++;
	}
	return 0;
}

static int gather(struct identity *id, const struct target_spec *spec, struct sv vars)
{
	struct tag_vec dd = {0}, otel = {0};
	struct sv text, v = SV_NULL;
	int err = 0;
	if (env_value(vars, "DD_TAGS", &text))
		err = tags_parse(text, &dd);
	if (!err && env_value(vars, "OTEL_RESOURCE_ATTRIBUTES", &text))
		err = otel_parse(text, &id->arena, &otel);
	if (spec) {
		id->service = spec->service;
		id->env = spec->env;
		id->version = spec->version;
		id->from.service_from = spec->service.len ? IDENTIFY_BY_SPEC : NULL;
		id->from.env_from = spec->env.len ? IDENTIFY_BY_SPEC : NULL;
		id->from.version_from = spec->version.len ? IDENTIFY_BY_SPEC : NULL;
		err = err ? err : add_tags(id, &spec->tags, IDENTIFY_MAX_TAGS);
	}
	settle(&id->service, &id->from.service_from, env_value(vars, "DD_SERVICE", &v), v, "DD_SERVICE");
	settle(&id->service, &id->from.service_from, env_value(vars, "OTEL_SERVICE_NAME", &v), v, "OTEL_SERVICE_NAME");
	settle(&id->service, &id->from.service_from, tags_get(&dd, "service", &v), v, "DD_TAGS");
	settle(&id->service, &id->from.service_from, tags_get(&otel, "service.name", &v), v,
	       "OTEL_RESOURCE_ATTRIBUTES");
	id->service_told = id->service.len > 0;
	settle(&id->env, &id->from.env_from, env_value(vars, "DD_ENV", &v), v, "DD_ENV");
	settle(&id->env, &id->from.env_from, tags_get(&dd, "env", &v), v, "DD_TAGS");
	settle(&id->env, &id->from.env_from, tags_get(&otel, "deployment.environment.name", &v), v,
	       "OTEL_RESOURCE_ATTRIBUTES");
	settle(&id->env, &id->from.env_from, tags_get(&otel, "deployment.environment", &v), v,
	       "OTEL_RESOURCE_ATTRIBUTES");
	settle(&id->version, &id->from.version_from, env_value(vars, "DD_VERSION", &v), v, "DD_VERSION");
	settle(&id->version, &id->from.version_from, tags_get(&dd, "version", &v), v, "DD_TAGS");
	settle(&id->version, &id->from.version_from, tags_get(&otel, "service.version", &v), v,
	       "OTEL_RESOURCE_ATTRIBUTES");
	if (!err)
		err = dd.cnt ? add_tags(id, &dd, IDENTIFY_MAX_TAGS) : add_tags(id, &otel, IDENTIFY_MAX_OTEL_TAGS);
	vec_release(&dd);
	vec_release(&otel);
	return err;
}

/* --- the object ----------------------------------------------------------------------------------------------------
 */

/* Lays strings out behind the struct: first called to measure (to == NULL), then to copy. */
struct packer {
	char *to;
	size_t used;
};

static struct sv pack(struct packer *k, struct sv s)
{
	struct sv copy = {k->to ? k->to + k->used : NULL, s.len};
	if (k->to && s.len)
		memcpy(k->to + k->used, s.data, s.len);
	if (k->to)
		k->to[k->used + s.len] = '\0';
	k->used += s.len + 1;
	return copy;
}

static void pack_all(struct packer *k, const struct process_info *from, struct process_info *to)
{
	to->name = pack(k, from->name);
	to->service = pack(k, from->service);
	to->base_service = pack(k, from->base_service);
	to->service_source = pack(k, from->service_source);
	to->env = pack(k, from->env);
	to->version = pack(k, from->version);
	to->language = pack(k, from->language);
	to->language_version = pack(k, from->language_version);
	to->interpreter = pack(k, from->interpreter);
	to->runtime_id = pack(k, from->runtime_id);
	to->container_id = pack(k, from->container_id);
	to->external_env = pack(k, from->external_env);
	to->hostname = pack(k, from->hostname);
	to->commit = pack(k, from->commit);
	to->repository = pack(k, from->repository);
	to->go_path = pack(k, from->go_path);
	to->python_package = pack(k, from->python_package);
	to->process_tags = pack(k, from->process_tags);
	to->sampling.sample_rate = pack(k, from->sampling.sample_rate);
	to->sampling.rules = pack(k, from->sampling.rules);
	to->sampling.rate_limit = pack(k, from->sampling.rate_limit);
	to->sampling.span_rules = pack(k, from->sampling.span_rules);
	to->settings = pack(k, from->settings);
	for (uint32_t i = 0; i < from->tag_cnt; i++) {
		struct tag copy = {pack(k, from->tags[i].key), pack(k, from->tags[i].value)};
		if (k->to)
			to->tags[i] = copy;
	}
}

/* One block: the struct, its tags, its strings; process_info_unref() frees it as such. */
static struct process_info *publish(const struct process_info *from)
{
	struct process_info measured = *from;
	struct packer k = {0};
	pack_all(&k, from, &measured);
	size_t tags_sz = from->tag_cnt * sizeof(struct tag);
	struct process_info *p = malloc(sizeof(*p) + tags_sz + k.used);
	if (!p)
		return NULL;
	*p = *from;
	p->refs = 1;
	routes_hold(p->routes[0]);
	p->tags = tags_sz ? (struct tag *)(p + 1) : NULL;
	k = (struct packer){.to = (char *)(p + 1) + tags_sz};
	pack_all(&k, from, p);
	return p;
}

struct process_info *identify_fork(const struct process_info *parent, uint32_t pid, uint32_t ns_pid)
{
	struct process_info child = *parent;
	char uuid[UUID_LEN + 1];
	uuid_make(uuid);
	child.pid = pid;
	child.ns_pid = ns_pid;
	child.runtime_id = sv_of(uuid);
	return publish(&child);
}

static struct sv display_name(struct proc *p)
{
	struct entry entry;
	struct sv exe_name;
	target_names(p, &exe_name, &entry);
	struct sv name = entry_name(&entry);
	return name.len ? name : exe_name.len ? target_called(p, exe_name) : p->comm;
}

/* Variable by variable, who comes first decides. */
static bool setting_of(const struct identify_options *o, struct sv vars, const char *name, struct sv *ret)
{
	return environ_get(o->environment, name, ret) || (o->spec && tags_get(&o->spec->settings, name, ret)) ||
	       environ_get(vars, name, ret);
}

/* Ours goes before these where they are used. */
static struct sampling_vars sampling_vars_of(const struct identify_options *o, struct sv vars)
{
	struct sampling_vars v = {0};
	setting_of(o, vars, "DD_TRACE_SAMPLE_RATE", &v.sample_rate);
	setting_of(o, vars, "DD_TRACE_SAMPLING_RULES", &v.rules);
	setting_of(o, vars, "DD_TRACE_RATE_LIMIT", &v.rate_limit);
	setting_of(o, vars, "DD_SPAN_SAMPLING_RULES", &v.span_rules);
	return v;
}

static void settings_of(const struct identify_options *o, struct sv vars, struct sbuf *out)
{
	for (const char *const *name = request_variables; *name; name++) {
		struct sv value;
		if (setting_of(o, vars, *name, &value))
			request_settings_put(out, *name, value);
	}
}

/* For source_find(). */
struct lookup {
	const struct identify_options *options;
	struct sv vars;
};

static bool lookup_variable(void *arg, const char *name, struct sv *ret)
{
	const struct lookup *l = arg;
	return setting_of(l->options, l->vars, name, ret);
}

static struct sv kept_text(struct identity *id, struct sbuf *text)
{
	struct sv copy = arena_dup(&id->arena, sbuf_sv(text));
	sbuf_reset(text);
	return copy;
}

/* Names as Datadog shows them, so that they are the same everywhere: also where the spans do not go to an Agent. */
static bool identity_normalize(struct identity *id, struct sv language)
{
	struct sbuf text = {0};
	uint32_t tag_cnt = (uint32_t)id->tags.cnt;
	normalize_service(&text, id->service, language);
	id->service = kept_text(id, &text);
	if (id->base_service.len) {
		normalize_service(&text, id->base_service, language);
		id->base_service = kept_text(id, &text);
	}
	normalize_tag_value(&text, id->env);
	id->env = text.len ? kept_text(id, &text) : SV_NULL;
	bool good = normalize_tags(id->tags.data, &tag_cnt, &id->arena) && !text.failed && id->service.data;
	id->tags.cnt = tag_cnt;
	sbuf_release(&text);
	return good;
}

/* Those that are looked for before they are chosen are not among the chosen ones. */
static bool is_instrumented(const struct target_spec *spec, struct proc *p)
{
	struct sbuf ignored = {0};
	if (spec && spec->policy && !spec->policy->trace_instrumented)
		return false;
	bool found = instrumented_find(p, &ignored);
	sbuf_release(&ignored);
	return found;
}

int identify_process(struct proc *p, const struct identify_options *o, struct process_info **ret)
{
	struct identity id = {0};
	struct sv vars = SV_NULL, external = SV_NULL, metrics;
	struct container container = {0};
	const struct proc_status *status = NULL;
	struct sbuf fallback = {0}, settings = {0};
	char uuid[UUID_LEN + 1];
	int err = proc_environ(p, &vars);
	if (err != -ESRCH && (err = proc_status(p, &status)) != -ESRCH)
		err = proc_container(p, &container);
	if (err == -ESRCH)
		return err;
	err = gather(&id, o->spec, vars);
	struct language language;
	language_find(o->languages, p, &language);
	if (!id.service.len) {
		identify_default_service(p, runtime_word(language.runtime), &fallback);
		id.service = sbuf_sv(&fallback);
	}
	struct lookup lookup = {o, vars};
	struct source_options source = {.variable = lookup_variable,
					.arg = &lookup,
					.language = &language,
					.service = id.service,
					.service_told = id.service_told};
	struct source built;
	bool good = source_find(p, &source, &id.tags, &id.arena, &built);
	struct sv text = SV_NULL;
	struct sv own = id.service;
	if (setting_of(o, vars, "DD_SERVICE_MAPPING", &text) && source_map_service(text, &id.service) < 0)
		good = false;
	id.base_service = sv_eq(own, id.service) ? SV_NULL : own;
	good &= identity_normalize(&id, runtime_word(language.runtime));
	environ_get(vars, "DD_EXTERNAL_ENV", &external);
	settings_of(o, vars, &settings);
	uuid_make(uuid);
	struct process_info info = {
		.pid = (uint32_t)p->pid,
		.ns_pid = (uint32_t)(status ? status->ns_pid : p->pid),
		.name = display_name(p),
		.service = id.service,
		.base_service = id.base_service,
		.service_source = id.service_told ? SV("m") : SV_NULL,
		.env = id.env,
		.version = id.version,
		.language = runtime_word(language.runtime),
		.language_version = sv_of(language.version),
		.interpreter = sv_of(language.interpreter),
		.runtime_id = sv_of(uuid),
		.container_id = container.id,
		.external_env = external,
		.cgroup_inode = container.id.len ? 0 : proc_cgroup_inode(p),
		.hostname = o->hostname,
		.commit = built.commit,
		.repository = built.repository,
		.go_path = built.go_path,
		.python_package = built.python_package,
		.process_tags = built.process_tags,
		.report_hostname = setting_of(o, vars, "DD_TRACE_REPORT_HOSTNAME", &text) && source_is_true(text),
		.tags = id.tags.data,
		.tag_cnt = (uint32_t)id.tags.cnt,
		.sampling = sampling_vars_of(o, vars),
		.settings = sbuf_sv(&settings),
		.runtime_metrics =
			setting_of(o, vars, "DD_RUNTIME_METRICS_ENABLED", &metrics) && setting_is_true(metrics),
		.instrumented = is_instrumented(o->spec, p),
	};
	if (o->spec) {
		info.target = o->spec->number;
		info.routes[0] = &o->spec->routes;
		info.routes[1] = o->spec->more_routes;
	}
	struct process_info *made = err || !good || fallback.failed || settings.failed ? NULL : publish(&info);
	sbuf_release(&fallback);
	sbuf_release(&settings);
	vec_release(&id.tags);
	arena_release(&id.arena);
	if (!made)
		return -ENOMEM;
	if (o->details) {
		*o->details = id.from;
		o->details->language = language;
	}
	*ret = made;
	return 0;
}
