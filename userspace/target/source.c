/* SPDX-License-Identifier: Apache-2.0 */
#include "target/source.h"

#include <errno.h>
#include <strings.h>

#include "target/entry.h"
#include "target/identify.h"
#include "target/match.h"
#include "target/python_package.h"
#include "target/text.h"
#include "trace/normalize.h"

const char *const source_variables[] = {"DD_GIT_COMMIT_SHA",
					"DD_GIT_REPOSITORY_URL",
					"DD_TRACE_GIT_METADATA_ENABLED",
					"DD_MAIN_PACKAGE",
					"DD_EXPERIMENTAL_PROPAGATE_PROCESS_TAGS_ENABLED",
					"DD_TRACE_REPORT_HOSTNAME",
					"DD_SERVICE_MAPPING",
					NULL};

bool source_is_true(struct sv value)
{
	return sv_eq(value, SV("1")) || (value.len == 4 && strncasecmp(value.data, "true", 4) == 0);
}

/* --- what it was built from ---------------------------------------------------------------------------------------- */

/* https://user:token@host/path -> https://host/path */
static struct sv without_user(struct sv url, struct arena *arena)
{
	const char *at = url.len ? memmem(url.data, url.len, "://", 3) : NULL;
	size_t host = at ? (size_t)(at - url.data) + 3 : url.len;
	const char *slash = host < url.len ? memchr(url.data + host, '/', url.len - host) : NULL;
	size_t end = slash ? (size_t)(slash - url.data) : url.len;
	const char *sign = host < end ? memrchr(url.data + host, '@', end - host) : NULL;
	if (!sign)
		return url;
	size_t rest = (size_t)(sign - url.data) + 1, len = host + url.len - rest;
	char *out = arena_alloc(arena, len + 1);
	if (!out)
		return SV_NULL;
	memcpy(out, url.data, host);
	memcpy(out + host, url.data + rest, url.len - rest);
	return (struct sv){out, len};
}

static struct sv take_tag(struct tag_vec *tags, const char *key)
{
	for (size_t i = 0; i < tags->cnt; i++) {
		if (!sv_eq(tags->data[i].key, sv_of(key)))
			continue;
		struct sv value = tags->data[i].value;
		memmove(&tags->data[i], &tags->data[i + 1], (tags->cnt - i - 1) * sizeof(*tags->data));
		tags->cnt--;
		return value;
	}
	return SV_NULL;
}

static struct sv first_of(struct sv a, struct sv b, struct sv c)
{
	return a.len ? a : b.len ? b : c;
}

static struct sv variable(const struct source_options *o, const char *name)
{
	struct sv value = SV_NULL;
	return o->variable(o->arg, name, &value) ? text_trim(value) : SV_NULL;
}

static bool is_on(const struct source_options *o, const char *name)
{
	struct sv value = variable(o, name);
	return !value.len || source_is_true(value);
}

static bool is_python(const struct source_options *o)
{
	return o->language->runtime == RUNTIME_CPYTHON || o->language->runtime == RUNTIME_PYPY;
}

/* What of it nobody said. */
static void find_in_package(struct proc *p, const struct source_options *o, struct arena *arena, struct source *ret)
{
	struct python_package_options package = {.package = ret->python_package,
						 .python_path = variable(o, "PYTHONPATH"),
						 .environment = variable(o, "VIRTUAL_ENV"),
						 .version = sv_of(o->language->version)};
	struct sbuf repository = {0}, commit = {0};
	if (!(ret->commit.len && ret->repository.len) && python_package_source(p, &package, &repository, &commit)) {
		if (!ret->commit.len)
			ret->commit = arena_dup(arena, sbuf_sv(&commit));
		if (!ret->repository.len)
			ret->repository = without_user(arena_dup(arena, sbuf_sv(&repository)), arena);
	}
	sbuf_release(&repository);
	sbuf_release(&commit);
}

static void find_git(struct proc *p, const struct source_options *o, struct tag_vec *tags, struct arena *arena,
		     struct source *ret)
{
	struct sv commit = take_tag(tags, "git.commit.sha"), url = take_tag(tags, "git.repository_url");
	take_tag(tags, "python_main_package");
	if (!is_on(o, "DD_TRACE_GIT_METADATA_ENABLED"))
		return;
	ret->commit = first_of(variable(o, "DD_GIT_COMMIT_SHA"), commit, sv_of(o->language->commit));
	ret->repository = without_user(first_of(variable(o, "DD_GIT_REPOSITORY_URL"), url, SV_NULL), arena);
	ret->go_path = sv_of(o->language->package);
	if (is_python(o))
		ret->python_package = variable(o, "DD_MAIN_PACKAGE");
	if (ret->python_package.len)
		find_in_package(p, o, arena, ret);
}

/* --- how it was started -------------------------------------------------------------------------------------------- */

static void add_tag(struct sbuf *out, const char *key, struct sv value)
{
	size_t before = out->len;
	if (!value.len)
		return;
	sbuf_addf(out, "%s%s:", before ? "," : "", key);
	size_t start = out->len;
	normalize_tag_value(out, value);
	if (out->len == start)
		out->len = before;
}

/* The last name of a path, whether a slash follows it or not. */
static struct sv last_name(struct sv path)
{
	while (path.len > 1 && path.data[path.len - 1] == '/')
		path.len--;
	return text_basename(path);
}

static struct sv folder_of(struct sv path)
{
	struct sv name = text_basename(path);
	return last_name((struct sv){path.data, path.len - name.len});
}

static struct sv without_extension(struct sv name)
{
	const char *dot = name.data && name.len ? memrchr(name.data, '.', name.len) : NULL;
	return dot && dot > name.data ? (struct sv){name.data, (size_t)(dot - name.data)} : name;
}

static void add_entrypoint(struct proc *p, struct sbuf *out)
{
	static const char *const types[] = {
		[ENTRY_PROGRAM] = "executable", [ENTRY_SCRIPT] = "script", [ENTRY_MODULE] = "module",
		[ENTRY_CLASS] = "class",	[ENTRY_JAR] = "jar",	   [ENTRY_INLINE] = "script"};
	struct entry entry;
	struct sv exe_name, exe = SV_NULL, cwd = SV_NULL;
	target_names(p, &exe_name, &entry);
	bool program = entry.kind == ENTRY_PROGRAM;
	struct sv path = SV_NULL;
	if (program && proc_exe(p, &exe) == 0)
		path = exe;
	else if (entry.kind == ENTRY_SCRIPT || entry.kind == ENTRY_JAR)
		path = entry.what;
	bool dotted = entry.kind == ENTRY_MODULE || entry.kind == ENTRY_CLASS;
	struct sv folder = folder_of(path), name = dotted ? entry.what : text_basename(path);
	proc_cwd(p, &cwd);
	if (path.len && path.data[0] != '/' && !memchr(path.data, '/', path.len))
		folder = last_name(cwd);
	add_tag(out, "entrypoint.basedir", folder);
	add_tag(out, "entrypoint.name", program || dotted ? name : without_extension(name));
	add_tag(out, "entrypoint.type", sv_of(types[entry.kind]));
	add_tag(out, "entrypoint.workdir", last_name(cwd));
}

bool source_find(struct proc *p, const struct source_options *o, struct tag_vec *tags, struct arena *arena,
		 struct source *ret)
{
	struct sbuf text = {0};
	*ret = (struct source){0};
	bool good = true;
	find_git(p, o, tags, arena, ret);
	if (is_on(o, "DD_EXPERIMENTAL_PROPAGATE_PROCESS_TAGS_ENABLED")) {
		add_entrypoint(p, &text);
		add_tag(&text, o->service_told ? "svc.user" : "svc.auto", o->service_told ? SV("true") : o->service);
		ret->process_tags = arena_dup(arena, sbuf_sv(&text));
		good &= ret->process_tags.data && !text.failed;
	}
	sbuf_release(&text);
	return good;
}

int source_map_service(struct sv mapping, struct sv *service)
{
	struct tag_vec pairs = {0};
	int rc = tags_parse(mapping, &pairs);
	for (size_t i = 0; i < pairs.cnt; i++)
		if (sv_eq(pairs.data[i].key, *service) && pairs.data[i].value.len) {
			*service = pairs.data[i].value;
			break;
		}
	vec_release(&pairs);
	return rc;
}
