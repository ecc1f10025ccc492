/* SPDX-License-Identifier: Apache-2.0 */
#include "target/python_package.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/regular.h"
#include "target/entry.h"
#include "target/match.h"
#include "target/text.h"

#define LINK_MAX 1024

/* --- metadata ------------------------------------------------------------------------------------------------------ */

static bool starts_any_case(struct sv s, struct sv prefix)
{
	return s.len >= prefix.len && strncasecmp(s.data, prefix.data, prefix.len) == 0;
}

static struct sv next_line(struct sv *text)
{
	const char *end = text->len ? memchr(text->data, '\n', text->len) : NULL;
	size_t len = end ? (size_t)(end - text->data) : text->len;
	struct sv line = {text->data, len};
	text->data += end ? len + 1 : len;
	text->len -= end ? len + 1 : len;
	return line;
}

bool python_package_link(struct sv text, struct sbuf *repository, struct sbuf *commit)
{
	const struct sv field = SV("Project-URL:"), label = SV("source_code_link, ");
	while (text.len) {
		struct sv line = next_line(&text), value = text_trim(line);
		if (!value.len) /* the end of the fields */
			return false;
		if (!starts_any_case(line, field))
			continue;
		value = text_trim((struct sv){line.data + field.len, line.len - field.len});
		if (!sv_starts(value, label))
			continue;
		value = text_trim((struct sv){value.data + label.len, value.len - label.len});
		const char *hash = value.len ? memchr(value.data, '#', value.len) : NULL;
		const char *comma = value.len ? memmem(value.data, value.len, ", ", 2) : NULL;
		if (!hash || comma || value.len > LINK_MAX || memrchr(value.data, '#', value.len) != hash)
			return false;
		struct sv after = {hash + 1, (size_t)(value.data + value.len - hash - 1)};
		const char *more = after.len ? memchr(after.data, '&', after.len) : NULL;
		sbuf_add(repository, value.data, (size_t)(hash - value.data));
		sbuf_add(commit, after.data, more ? (size_t)(more - after.data) : after.len);
		return true;
	}
	return false;
}

/* The next character of a name as packages are compared (PEP 503): in lower case, runs of "-", "_" and "." are one; 0 at the
 * end. */
static char next_of_name(struct sv *name)
{
	size_t n = 0;
	while (n < name->len && memchr("-_.", name->data[n], 3))
		n++;
	if (n) {
		*name = (struct sv){name->data + n, name->len - n};
		return '-';
	}
	if (!name->len)
		return 0;
	char c = *name->data++;
	name->len--;
	return (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
}

bool python_package_is(const char *entry, struct sv package)
{
	const char *dot = strrchr(entry, '.');
	if (!dot || (strcasecmp(dot, ".dist-info") != 0 && strcasecmp(dot, ".egg-info") != 0))
		return false;
	const char *dash = memchr(entry, '-', (size_t)(dot - entry));
	struct sv name = {entry, (size_t)((dash ? dash : dot) - entry)};
	char a, b;
	do {
		a = next_of_name(&name);
		b = next_of_name(&package);
	} while (a && a == b);
	return a == b;
}

/* --- where --------------------------------------------------------------------------------------------------------- */

struct search {
	struct proc *p;
	const struct python_package_options *options;
	struct sbuf *repository, *commit;
	struct sbuf path, text;
	unsigned dirs;
	bool found; /* the package: no other of that name counts */
	bool good;  /* it says something */
};

static bool read_metadata(int dir, const char *name, struct sbuf *out)
{
	__cleanup(closep) int fd = -1;
	sbuf_reset(out);
	char *to = regular_open_at(dir, name, &fd) == 0 ? sbuf_reserve(out, PYTHON_PACKAGE_MAX_SZ) : NULL;
	while (to && out->len < PYTHON_PACKAGE_MAX_SZ) {
		ssize_t n = read(fd, out->data + out->len, PYTHON_PACKAGE_MAX_SZ - out->len);
		if (n <= 0)
			break;
		out->len += (size_t)n;
	}
	return to && out->len;
}

static void look_into(struct search *s, const char *entry)
{
	__cleanup(closep) int dir = -1;
	size_t len = s->path.len;
	sbuf_addf(&s->path, "/%s", entry);
	if (!s->path.failed && proc_open_dir_in_root(s->p, s->path.data, &dir) == 0 &&
	    (read_metadata(dir, "METADATA", &s->text) || read_metadata(dir, "PKG-INFO", &s->text)))
		s->good = python_package_link(sbuf_sv(&s->text), s->repository, s->commit);
	s->path.len = len;
}

static void closedirp(DIR **d)
{
	if (*d)
		closedir(*d);
}

/* The directory that s->path names. */
static void search_dir(struct search *s)
{
	int fd = -1;
	if (s->found || s->path.failed || s->path.len >= PATH_MAX || s->dirs++ == PYTHON_PACKAGE_MAX_DIRS ||
	    proc_open_dir_in_root(s->p, s->path.data, &fd) < 0)
		return;
	__cleanup(closedirp) DIR *d = fdopendir(fd);
	if (!d)
		close(fd);
	const struct dirent *e;
	for (unsigned n = 0; d && n < PYTHON_PACKAGE_MAX_ENTRIES && (e = readdir(d)); n++) {
		if (!python_package_is(e->d_name, s->options->package))
			continue;
		s->found = true;
		look_into(s, e->d_name);
		return;
	}
}

/* Absolute, or below the working directory. */
static void search_path(struct search *s, struct sv path)
{
	struct sv cwd = SV_NULL;
	sbuf_reset(&s->path);
	if (!path.len || path.data[0] != '/') {
		if (proc_cwd(s->p, &cwd) < 0)
			return;
		sbuf_addsv(&s->path, cwd);
		sbuf_addc(&s->path, '/');
	}
	sbuf_addsv(&s->path, path);
	search_dir(s);
}

static struct sv folder_of(struct sv path)
{
	const char *slash = path.len ? memrchr(path.data, '/', path.len) : NULL;
	return (struct sv){path.data, slash ? (size_t)(slash - path.data) : 0};
}

/* "3.11" of "3.11.2" */
static struct sv short_version(struct sv version)
{
	const char *dot = version.len ? memchr(version.data, '.', version.len) : NULL;
	size_t rest = dot ? (size_t)(version.data + version.len - dot - 1) : 0;
	const char *second = rest ? memchr(dot + 1, '.', rest) : NULL;
	return (struct sv){version.data, second ? (size_t)(second - version.data) : version.len};
}

static void search_prefix(struct search *s, struct sv prefix)
{
	static const char *const places[] = {"lib/python%.*s/site-packages", "lib64/python%.*s/site-packages",
					     "lib/python%.*s/dist-packages", "lib/python3/dist-packages"};
	struct sv version = short_version(s->options->version);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		char place[64];
		struct sbuf path = {0};
		snprintf(place, sizeof(place), places[i], (int)(version.len < 16 ? version.len : 16), version.data);
		sbuf_addsv(&path, prefix);
		sbuf_addf(&path, "/%s", place);
		search_path(s, sbuf_sv(&path));
		sbuf_release(&path);
	}
}

/* Of an environment's own Python, "venv/bin/python": it sees its own packages alone. Else where it is installed. */
static void search_installation(struct search *s)
{
	struct sv args, called = SV_NULL, exe;
	if (proc_cmdline(s->p, &args) == 0)
		cmdline_next(&args, &called);
	struct sv bin = folder_of(called);
	if (bin.len)
		search_prefix(s, folder_of(bin).len ? folder_of(bin) : SV("."));
	else if (s->options->environment.len)
		search_prefix(s, s->options->environment);
	if (s->found || proc_exe(s->p, &exe) < 0)
		return;
	struct sv prefix = folder_of(folder_of(exe));
	search_prefix(s, prefix);
	if (sv_eq(prefix, SV("/usr"))) /* Debian's Python looks there as well */
		search_prefix(s, SV("/usr/local"));
}

bool python_package_source(struct proc *p, const struct python_package_options *options, struct sbuf *repository,
			   struct sbuf *commit)
{
	struct search s = {.p = p, .options = options, .repository = repository, .commit = commit};
	struct entry entry;
	struct sv exe_name, path = options->python_path;
	if (!options->package.len)
		return false;
	target_names(p, &exe_name, &entry);
	search_path(&s, entry.kind == ENTRY_SCRIPT ? folder_of(entry.what) : SV(""));
	while (path.len) {
		const char *colon = memchr(path.data, ':', path.len);
		size_t len = colon ? (size_t)(colon - path.data) : path.len;
		if (len)
			search_path(&s, (struct sv){path.data, len});
		len += colon != NULL;
		path = (struct sv){path.data + len, path.len - len};
	}
	search_installation(&s);
	sbuf_release(&s.path);
	sbuf_release(&s.text);
	return s.good;
}
