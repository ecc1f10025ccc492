/* SPDX-License-Identifier: Apache-2.0 */
#include "probe/list.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/utf8.h"
#include "probe/list_read.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* --- tables --------------------------------------------------------------------------------------------------------
 */

#define PID_MAX_LIMIT	 (1 << 22) /* include/linux/threads.h */

#define FORM_ROUTES	 "a route (/users/{id}) or a list of them"
#define FORM_SETTINGS	 "a map of variables (DD_TRACE_HEADER_TAGS) to texts"
#define SELECTOR_CNT	 10 /* the first keys: at least one is needed */
#define SELECTORS	 ((1u << SELECTOR_CNT) - 1)
#define SELECTOR_NAMES	 "name, exe, cmdline, pid, port, container, listening, label, unit, language"
#define IN_TARGET(field) offsetof(struct target_spec, field)
static const struct list_key target_keys[] = {
	LIST_KEY("name", list_read_strings, IN_TARGET(names), "a glob or a list of globs",
		 "command, basename of the executable, or of the script an interpreter runs"),
	LIST_KEY("exe", list_read_strings, IN_TARGET(exes), "a glob or a list of globs", "path of the executable"),
	LIST_KEY("cmdline", list_read_strings, IN_TARGET(cmdlines), "a glob or a list of globs",
		 "arguments joined by spaces"),
	LIST_KEY("pid", list_read_integers, IN_TARGET(pids), "a process id or a list of them", "", .min = 1,
		 .max = PID_MAX_LIMIT),
	LIST_KEY("port", list_read_integers, IN_TARGET(ports), "a TCP port or a list of them",
		 "the process listens on it", .min = 1, .max = 65535),
	LIST_KEY("container", list_read_strings, IN_TARGET(containers), "a glob or a list of globs",
		 "name or id of the container, or the beginning of an id"),
	LIST_KEY("listening", list_read_bool, IN_TARGET(listening), "true or false",
		 "true: it listens on some TCP port"),
	LIST_KEY("label", list_read_tags, IN_TARGET(labels), "a map of names to globs",
		 "labels of the container, or of its pod; all of them"),
	LIST_KEY("unit", list_read_strings, IN_TARGET(units), "a glob or a list of globs",
		 "systemd unit; .service may be left out"),
	LIST_KEY("language", list_read_strings, IN_TARGET(languages), "a language or a list of them",
		 "python, go, javascript, jvm, ruby, php, dotnet, rust, cpp, or what `ps` shows"),
	LIST_KEY("service", list_read_string, IN_TARGET(service), "text",
		 "default: DD_SERVICE of the process, else its name"),
	LIST_KEY("env", list_read_string, IN_TARGET(env), "text", "default: DD_ENV of the process"),
	LIST_KEY("version", list_read_string, IN_TARGET(version), "text", "default: DD_VERSION of the process"),
	LIST_KEY("tags", list_read_tags, IN_TARGET(tags), "a map of names to texts", "on every span of the process"),
	LIST_KEY("routes", list_read_routes, IN_TARGET(routes), FORM_ROUTES, "for this target, tried first"),
	LIST_KEY("propagation", list_read_propagation, IN_TARGET(propagation), "a map", "trace context on the wire",
		 .inner = &list_propagation_map),
	LIST_KEY("settings", list_read_settings, IN_TARGET(settings), FORM_SETTINGS, "instead of the process's own"),
	LIST_KEY("sampling", list_read_sampling, IN_TARGET(settings), "a map",
		 "instead of what the process's environment says", .inner = &list_sampling_map),
	LIST_KEY("probes", list_read_probes, 0, "a list of probes", "for this target alone", .inner = &list_probe_map),
	LIST_KEY("handoffs", list_read_handoffs, 0, "a hand-off or a list of them", "for this target alone",
		 .inner = &list_handoff_map),
	LIST_KEY("handoff", list_read_handoffs, 0, "a hand-off or a list of them", "the same key, for one",
		 .inner = &list_handoff_map),
	LIST_KEY("span_rules", list_read_span_rules, 0, "a span rule or a list of them", "for this target alone",
		 .inner = &list_span_rule_map),
};
const struct list_map list_target_map = {"a target", target_keys, COUNT(target_keys)};
static const struct list_map exclude_map = {"an exclusion", target_keys, SELECTOR_CNT};

static LIST_READER(read_memory)
{
	uint64_t n;
	if (value->kind != YAML_SCALAR || value->quoted || !units_size(value->text, &n) || n < key->min || n > key->max)
		list_expected(r, key, value);
	else
		*(uint32_t *)field = (uint32_t)n;
}

#define IN_LIMITS(field) offsetof(struct probe_limits, field)
static const struct list_key limits_keys[] = {
	LIST_KEY("max_functions", list_read_u32, IN_LIMITS(max_functions), "a whole number",
		 "probed functions, all together", .min = 1, .max = 1000000),
	LIST_KEY("ring_size", list_read_size, IN_LIMITS(ring_size), "a power of two from 64k to 1g",
		 "bytes between kernel and collector", .min = 1 << 16, .max = 1 << 30),
	LIST_KEY("max_traces", list_read_u32, IN_LIMITS(max_traces), "a whole number", "open at the same time",
		 .min = 1, .max = 10000000),
	LIST_KEY("max_spans", list_read_u32, IN_LIMITS(max_spans), "a whole number", "kept in open traces", .min = 1,
		 .max = 100000000),
	LIST_KEY("queue_spans", list_read_u32, IN_LIMITS(queue_spans), "a whole number", "waiting for the exporters",
		 .min = 1, .max = 100000000),
	LIST_KEY("target_overhead", list_read_share, IN_LIMITS(target_overhead), "a share (0.05 or 5%)",
		 "of one CPU that probes may cost all targets; beyond, serve takes the hottest off"),
	LIST_KEY("memory", read_memory, IN_LIMITS(memory), "a size from 32m to 3g",
		 "resident, of ourselves; serve drops spans before it is reached", .min = 32 << 20, .max = 3UL << 30),
};
const struct list_map list_limits_map = {"limits:", limits_keys, COUNT(limits_keys)};

static LIST_READER(read_url)
{
	struct sv url, *ret = field;
	if (!list_read_text(r, key, value, &url))
		return;
	if (!sv_starts(url, SV("http://")) && !sv_starts(url, SV("https://")) && !sv_starts(url, SV("unix://")))
		list_expected(r, key, value);
	else
		*ret = url;
}

#define IN_AGENT(field) offsetof(struct probe_agent, field)
static const struct list_key agent_keys[] = {
	LIST_KEY("url", read_url, IN_AGENT(url), "http://HOST:PORT, https://HOST:PORT or unix:///PATH",
		 "as DD_TRACE_AGENT_URL"),
	LIST_KEY("host", list_read_string, IN_AGENT(host), "a host name or address", "as DD_AGENT_HOST"),
	LIST_KEY("port", list_read_u32, IN_AGENT(port), "a TCP port", "as DD_TRACE_AGENT_PORT", .min = 1, .max = 65535),
};
const struct list_map list_agent_map = {"agent:", agent_keys, COUNT(agent_keys)};

static LIST_READER(read_socket)
{
	struct sv url, *ret = field;
	if (!list_read_text(r, key, value, &url))
		return;
	if (!sv_starts(url, SV("unix:///")))
		list_expected(r, key, value);
	else
		*ret = url;
}

static const struct list_key containers_keys[] = {
	LIST_KEY("socket", read_socket, offsetof(struct probe_containers, socket), "unix:///PATH",
		 "a Docker-compatible runtime's; default: DOCKER_HOST, /var/run/docker.sock, /run/podman/podman.sock"),
};
const struct list_map list_containers_map = {"containers:", containers_keys, COUNT(containers_keys)};

static LIST_READER(read_containers)
{
	struct probe_containers *c = field;
	(void)key;
	c->pos = value->pos;
	list_read_map(r, &list_containers_map, value, c, NULL);
}

static LIST_READER(read_targets);
static LIST_READER(read_excludes);

static LIST_READER(read_limits)
{
	(void)key;
	list_read_map(r, &list_limits_map, value, field, NULL);
}

static LIST_READER(read_agent)
{
	struct probe_agent *agent = field;
	(void)key;
	agent->pos = value->pos;
	if (list_read_map(r, &list_agent_map, value, agent, NULL) && agent->url.len && (agent->host.len || agent->port))
		yaml_error(&r->src, value, "agent: url: says it all; host: and port: are for when it is absent");
}

#define IN_LIST(field) offsetof(struct probe_list, field)
static const struct list_key top_keys[] = {
	LIST_KEY("targets", read_targets, 0, "a list of targets", "which processes", .inner = &list_target_map),
	LIST_KEY("exclude", read_excludes, 0, "a list of targets", "which processes never, whatever the targets say",
		 .inner = &exclude_map),
	LIST_KEY("trace_instrumented", list_read_bool, IN_LIST(trace_instrumented), "true or false",
		 "also processes that carry a tracer of their own (false)"),
	LIST_KEY("containers", read_containers, IN_LIST(containers), "a map", "who knows containers by name",
		 .inner = &list_containers_map),
	LIST_KEY("probes", list_read_probes, 0, "a list of probes", "which functions, in every target",
		 .inner = &list_probe_map),
	LIST_KEY("handoffs", list_read_handoffs, 0, "a hand-off or a list of them",
		 "how work goes from thread to thread, in every target", .inner = &list_handoff_map),
	LIST_KEY("handoff", list_read_handoffs, 0, "a hand-off or a list of them", "the same key, for one",
		 .inner = &list_handoff_map),
	LIST_KEY("span_rules", list_read_span_rules, 0, "a span rule or a list of them",
		 "what becomes of finished spans: each that matches applies, in this order",
		 .inner = &list_span_rule_map),
	LIST_KEY("service", list_read_string, IN_LIST(service), "text", "of every target that names none"),
	LIST_KEY("env", list_read_string, IN_LIST(env), "text", "of every target that names none"),
	LIST_KEY("version", list_read_string, IN_LIST(version), "text", "of every target that names none"),
	LIST_KEY("tags", list_read_tags, IN_LIST(tags), "a map of names to texts", "on every span"),
	LIST_KEY("routes", list_read_routes, IN_LIST(routes), FORM_ROUTES,
		 "names of requests: {id} is any segment, a last * the rest; otherwise guessed from the path"),
	LIST_KEY("settings", list_read_settings, IN_LIST(settings), FORM_SETTINGS,
		 "Datadog's variables, instead of the processes' own; our own environment comes first"),
	LIST_KEY("sampling", list_read_sampling, IN_LIST(settings), "a map",
		 "which traces are kept, instead of what the processes' environments say", .inner = &list_sampling_map),
	LIST_KEY("capture", list_read_capture, IN_LIST(capture), "a map", "what is captured of sockets",
		 .inner = &list_capture_map),
	LIST_KEY("propagation", list_read_propagation, IN_LIST(propagation), "a map", "trace context on the wire",
		 .inner = &list_propagation_map),
	LIST_KEY("export", list_read_globs, IN_LIST(exports), "an exporter or a list of them",
		 "as --export takes them"),
	LIST_KEY("agent", read_agent, IN_LIST(agent), "a map", "the Datadog Agent", .inner = &list_agent_map),
	LIST_KEY("limits", read_limits, IN_LIST(limits), "a map", "sizes of tables and buffers",
		 .inner = &list_limits_map),
	LIST_KEY(
		"include", list_read_globs, IN_LIST(includes),
		"a file, a glob of files (conf.d/*.yaml), or a list of them",
		"beside this file; they may hold targets, probes, handoffs, span_rules, routes, tags, settings and sampling"),
	LIST_KEY("policy", list_read_policy, IN_LIST(service_of_daemon), "a map", "of serve",
		 .inner = &list_policy_map),
	LIST_KEY("control", list_read_control, IN_LIST(service_of_daemon), "a map", "of serve, attach and run",
		 .inner = &list_control_map),
	LIST_KEY("health", list_read_health, IN_LIST(service_of_daemon), "a map", "of serve",
		 .inner = &list_health_map),
};
const struct list_map list_top_map = {"a probe list", top_keys, COUNT(top_keys)};

/* Keys that add up. */
static const struct list_key include_keys[] = {
	LIST_KEY("targets", read_targets, 0, "a list of targets", "", .inner = &list_target_map),
	LIST_KEY("probes", list_read_probes, 0, "a list of probes", "", .inner = &list_probe_map),
	LIST_KEY("handoffs", list_read_handoffs, 0, "a hand-off or a list of them", "", .inner = &list_handoff_map),
	LIST_KEY("handoff", list_read_handoffs, 0, "a hand-off or a list of them", "", .inner = &list_handoff_map),
	LIST_KEY("span_rules", list_read_span_rules, 0, "a span rule or a list of them", "",
		 .inner = &list_span_rule_map),
	LIST_KEY("tags", list_read_tags, IN_LIST(tags), "a map of names to texts", ""),
	LIST_KEY("routes", list_read_routes, IN_LIST(routes), FORM_ROUTES, ""),
	LIST_KEY("settings", list_read_settings, IN_LIST(settings), FORM_SETTINGS, ""),
	LIST_KEY("sampling", list_read_sampling, IN_LIST(settings), "a map", "", .inner = &list_sampling_map),
};
const struct list_map list_include_map = {"an included file", include_keys, COUNT(include_keys)};

/* --- targets -------------------------------------------------------------------------------------------------------
 */

struct sv list_canonical(struct list_reader *r, const struct yaml_node *node, const char *const *skip)
{
	struct sbuf text __cleanup(sbuf_release) = {0};
	yaml_canonical(node, skip, &text);
	struct sv copy = arena_dup(&r->list->arena, sbuf_sv(&text));
	r->no_memory |= text.failed || !copy.data;
	return copy;
}

static LIST_READER(read_targets)
{
	static const char *const nested[] = {"probes", "handoffs", "handoff", NULL};
	(void)field;
	if (value->kind != YAML_SEQUENCE || !value->first) {
		list_expected(r, key, value);
		return;
	}
	if (value->cnt > PROBE_LIST_MAX_TARGETS) {
		yaml_error(&r->src, value, "%u targets; there may be %d", value->cnt, PROBE_LIST_MAX_TARGETS);
		return;
	}
	for (const struct yaml_node *one = value->first; one; one = one->next) {
		struct target_spec target = {.pos = one->pos, .canonical = list_canonical(r, one, nested)};
		r->target = (int)r->list->targets.cnt;
		uint32_t given;
		bool is_map = list_read_map(r, &list_target_map, one, &target, &given);
		r->target = -1;
		if (is_map && !(given & SELECTORS))
			yaml_error(&r->src, one, "a target needs one of " SELECTOR_NAMES);
		/* Also a target with mistakes: probes nested in it refer to its index. */
		if (vec_push(&r->list->targets, target) < 0) {
			target_spec_release(&target);
			r->no_memory = true;
		}
	}
}

static LIST_READER(read_excludes)
{
	(void)field;
	if (value->kind != YAML_SEQUENCE || !value->first) {
		list_expected(r, key, value);
		return;
	}
	if (value->cnt > PROBE_LIST_MAX_TARGETS) {
		yaml_error(&r->src, value, "%u exclusions; there may be %d", value->cnt, PROBE_LIST_MAX_TARGETS);
		return;
	}
	for (const struct yaml_node *one = value->first; one; one = one->next) {
		struct target_spec target = {.pos = one->pos};
		uint32_t given;
		if (list_read_map(r, &exclude_map, one, &target, &given) && !given)
			yaml_error(&r->src, one, "an exclusion needs one of " SELECTOR_NAMES);
		if (vec_push(&r->list->excludes, target) < 0) {
			target_spec_release(&target);
			r->no_memory = true;
		}
	}
}

/* --- the whole -----------------------------------------------------------------------------------------------------
 */

struct probe_list *probe_list_new(void)
{
	return calloc(1, sizeof(struct probe_list));
}

void probe_list_free(struct probe_list *list)
{
	if (!list)
		return;
	vec_foreach (target, &list->targets)
		target_spec_release(target);
	vec_foreach (exclude, &list->excludes)
		target_spec_release(exclude);
	vec_release(&list->excludes);
	vec_foreach (probe, &list->probes) {
		vec_release(&probe->functions);
		vec_release(&probe->excludes);
	}
	vec_foreach (handoff, &list->handoffs) {
		vec_release(&handoff->give.functions);
		vec_release(&handoff->take.functions);
	}
	vec_release(&list->said);
	vec_release(&list->targets);
	vec_release(&list->handoffs);
	vec_release(&list->probes);
	vec_release(&list->tags);
	vec_release(&list->settings);
	routes_release(&list->routes);
	vec_release(&list->propagation.excludes);
	vec_release(&list->exports);
	vec_release(&list->includes);
	vec_release(&list->span_rules);
	vec_release(&list->order);
	free(list->places);
	arena_release(&list->arena);
	free(list);
}

static void probe_list_freep(struct probe_list **list)
{
	probe_list_free(*list);
}

/* What libfyaml would pass over in silence: bytes that are no text. */
static int check_bytes(const struct yaml_source *src)
{
	struct sv text = src->text;
	struct source_pos pos = SOURCE_POS(1, 1);
	size_t valid = utf8_valid_prefix(text), bad = 0;
	while (bad < valid && ((unsigned char)text.data[bad] >= 0x20 || strchr("\t\n\r", text.data[bad])) &&
	       text.data[bad] != '\0' && text.data[bad] != 0x7f) {
		if (text.data[bad] == '\n')
			pos = SOURCE_POS(pos.line + 1, 1);
		else if (((unsigned char)text.data[bad] & 0xc0) != 0x80)
			pos.column++;
		bad++;
	}
	if (bad == text.len)
		return 0;
	diagnostics_error(src->d, pos, "byte 0x%02x is not %s; a probe list is plain text in UTF-8",
			  (unsigned char)text.data[bad], bad < valid ? "text" : "UTF-8");
	return -EINVAL;
}

static struct sv append(struct list_reader *r, struct sv to, const struct sbuf *more)
{
	struct sbuf text __cleanup(sbuf_release) = {0};
	sbuf_addsv(&text, to);
	sbuf_addsv(&text, sbuf_sv(more));
	struct sv copy = arena_dup(&r->list->arena, sbuf_sv(&text));
	r->no_memory |= text.failed || more->failed || !copy.data;
	return copy;
}

/* Everything but what has an identity of its own, of all files. */
static void note_rest(struct list_reader *r, const struct yaml_node *root)
{
	static const char *const own[] = {"targets", "probes", "include", "policy", NULL};
	static const char *const spread[] = {"service", "env",	    "version",	"tags",
					     "routes",	"settings", "sampling", NULL};
	struct sbuf texts[2] = {{0}};
	if (root->kind != YAML_MAPPING)
		return;
	for (const struct yaml_node *one = root->first; one; one = one->next) {
		if (yaml_is_one_of(one->key, own))
			continue;
		struct sbuf *text = &texts[yaml_is_one_of(one->key, spread)];
		sbuf_addsv(text, one->key->text);
		sbuf_addc(text, ':');
		yaml_canonical(one, NULL, text);
	}
	r->list->canonical_fixed = append(r, r->list->canonical_fixed, &texts[0]);
	r->list->canonical_spread = append(r, r->list->canonical_spread, &texts[1]);
	sbuf_release(&texts[0]);
	sbuf_release(&texts[1]);
}

int list_read_source(struct list_reader *r, const struct list_map *map)
{
	struct arena tree __cleanup(arena_release) = {0};
	struct yaml_node *root = NULL;
	int err = check_bytes(&r->src);
	if (!err)
		err = yaml_parse(&root, &r->src, &tree);
	if (err)
		return err;
	if (!root && map != &list_top_map)
		return 0; /* a file of comments */
	if (!root) {
		diagnostics_error(r->src.d, SOURCE_POS(1, 1), "the probe list is empty: expected targets: or probes:");
		return -EINVAL;
	}
	yaml_set_file(root, r->src.d->reading);
	list_read_map(r, map, root, r->list, NULL);
	note_rest(r, root);
	return r->no_memory || r->src.d->failed ? -ENOMEM : 0;
}

int probe_list_parse(struct probe_list **ret, const char *name, const char *text, size_t len, struct diagnostics *d)
{
	struct probe_list *list __cleanup(probe_list_freep) = probe_list_new();
	struct sv source = {text, len};
	*ret = NULL;
	if (sv_starts(source, SV("\xef\xbb\xbf"))) /* a byte order mark, as some editors leave */
		source = (struct sv){text + 3, len - 3};
	if (len > YAML_MAX_SZ) {
		diagnostics_set_source(d, sv_of(name), SV(""));
		diagnostics_error(d, ((struct source_pos){0}), "more than %d KiB: no probe list is that long",
				  YAML_MAX_SZ >> 10);
		return -EINVAL;
	}
	diagnostics_set_source(d, sv_of(name), source);
	if (!list || d->failed)
		return -ENOMEM;
	struct list_reader r = {.src = {source, d}, .list = list, .target = -1};
	uint32_t before = d->error_cnt;
	int err = list_read_source(&r, &list_top_map);
	if (err)
		return err;
	*ret = move_ptr(list);
	return d->error_cnt > before ? -EINVAL : 0;
}

/* "LIBRARY:GLOB": the first colon that is not half of a "::". */
static size_t library_end(struct sv text)
{
	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] != ':')
			continue;
		if (i + 1 == text.len || text.data[i + 1] != ':')
			return i;
		i++;
	}
	return text.len;
}

int probe_list_add_function(struct probe_list *list, const char *text, struct sbuf *err)
{
	struct sv function = sv_of(text);
	struct probe probe = {.target = -1, .return_type = SH_I32};
	size_t colon = library_end(function);
	bool has_library = colon < function.len;
	if (has_library) {
		probe.library.text = arena_dup(&list->arena, (struct sv){text, colon});
		function = (struct sv){text + colon + 1, function.len - colon - 1};
	}
	if (!function.len || (has_library && !colon)) {
		sbuf_addf(err, "'%s': expected a function's name or glob, or LIBRARY:FUNCTION", text);
		return -EINVAL;
	}
	if (list->probes.cnt >= PROBE_LIST_MAX_PROBES) {
		sbuf_addf(err, "more than %d probes", PROBE_LIST_MAX_PROBES);
		return -EINVAL;
	}
	struct probe_glob glob = {.text = arena_dup(&list->arena, function)};
	probe.canonical = arena_dup(&list->arena, sv_of(text));
	if (!glob.text.data || (has_library && !probe.library.text.data) || vec_push(&probe.functions, glob) < 0 ||
	    vec_push(&list->probes, probe) < 0) {
		vec_release(&probe.functions);
		return -ENOMEM;
	}
	return 0;
}

/* --- the manual ----------------------------------------------------------------------------------------------------
 */

static void describe_map(struct sbuf *out, const struct list_map *map, unsigned depth)
{
	for (unsigned i = 0; i < map->key_cnt; i++) {
		const struct list_key *key = &map->keys[i];
		int indent = (int)depth * 2, width = 24 - indent;
		sbuf_addf(out, "%*s%s:%*s%s", indent, "", key->name,
			  width > (int)strlen(key->name) + 2 ? width - (int)strlen(key->name) - 1 : 1, "", key->form);
		if (key->help[0])
			sbuf_addf(out, "; %s", key->help);
		/* A probe, or a hand-off, is described once, at the top. */
		bool twin = i > 0 && key->inner == map->keys[i - 1].inner; /* handoffs, handoff */
		bool again = depth > 0 && (key->inner == &list_probe_map || key->inner == &list_handoff_map ||
					   key->inner == &list_span_rule_map);
		if (again && !twin)
			sbuf_addf(out, " (keys: %s, below)", key->name);
		sbuf_addc(out, '\n');
		if (key->inner && !again && !twin)
			describe_map(out, key->inner, depth + 1);
	}
}

void probe_list_schema(struct sbuf *out)
{
	describe_map(out, &list_top_map, 0);
}

bool probe_list_measures(const struct probe_list *list)
{
	vec_foreach (p, &list->probes)
		if (p->measure_cnt)
			return true;
	return false;
}

bool probe_reads_memory(const struct probe *p)
{
	for (unsigned i = 0; i < p->spec.capture_cnt; i++) {
		const struct sh_capture_spec *c = &p->spec.captures[i];
		if (value_type_is_memory(c->type) || c->deref_cnt || c->flags & SH_CAP_LOAD)
			return true;
	}
	return false;
}

bool probe_list_reads_memory(const struct probe_list *list)
{
	vec_foreach (p, &list->probes)
		if (probe_reads_memory(p))
			return true;
	return false;
}

bool probe_has_spec(const struct probe *p)
{
	const struct sh_spec *s = &p->spec;
	return s->capture_cnt || s->cond_cnt || s->min_duration_ns || s->sample_below || s->rate_per_sec;
}

bool probe_list_has_specs(const struct probe_list *list)
{
	vec_foreach (p, &list->probes)
		if (probe_has_spec(p))
			return true;
	return false;
}

bool probe_list_captures(const struct probe_list *list)
{
	vec_foreach (p, &list->probes)
		if (p->spec.capture_cnt)
			return true;
	return false;
}
