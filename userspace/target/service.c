/* SPDX-License-Identifier: Apache-2.0 */
/* identify_default_service(): a readable name for what nobody named. */
#include "target/entry.h"
#include "target/identify.h"
#include "target/match.h"
#include "target/text.h"

static bool in_list(const char *const *list, struct sv word)
{
	for (; *list; list++)
		if (sv_eq(word, sv_of(*list)))
			return true;
	return false;
}

/* Names that say nothing about what a program is for. */
static const char *const generic[] = {
	"app",	   "App",	"application", "Application", "main",  "Main",	  "__main__", "index",	 "server",
	"Server",  "start",	"run",	       "wsgi",	      "asgi",  "manage",  "cli",      "service", "www",
	"backend", "bootstrap", "init",	       "Launcher",    "a.out", "artisan", "console",  NULL,
};

/* Directories between a project and its code. */
static const char *const passages[] = {
	"src",	  "bin",     "sbin", "lib",	      "dist",	       "build",	  "out",
	"target", "scripts", "cmd",  "public",	      "current",       "release", "debug",
	"code",	  ".",	     "..",   "site-packages", "dist-packages", "",	  NULL,
};

/* Directories of the system: a project lies below them and is not called like them. */
static const char *const system_dirs[] = {
	"srv", "opt", "usr", "home", "var", "root", "tmp", "mnt", "etc", "local", "proc", "dev", "run", "share", NULL,
};

static struct sv without_extension(struct sv name)
{
	static const char *const extensions[] = {".py",	 ".pyc", ".pyw", ".pyz", ".js",	  ".mjs", ".cjs",
						 ".ts",	 ".rb",	 ".pl",	 ".php", ".phar", ".sh",  ".bash",
						 ".lua", ".jar", ".war", ".dll", ".java", ".exe", NULL};
	for (const char *const *e = extensions; *e; e++) {
		struct sv ext = sv_of(*e);
		if (name.len > ext.len && text_ends(name, ext))
			return (struct sv){name.data, name.len - ext.len};
	}
	return name;
}

/* shop-1.2.3-SNAPSHOT -> shop */
static struct sv without_version(struct sv name)
{
	for (size_t i = 1; i + 1 < name.len; i++)
		if (name.data[i] == '-' && name.data[i + 1] >= '0' && name.data[i + 1] <= '9')
			return (struct sv){name.data, i};
	return name;
}

/* The nearest directory of this absolute path (itself a directory) that names a project; empty when none does. */
static struct sv project_of(struct sv dir)
{
	struct sv weak = SV_NULL;
	while (dir.len) {
		struct sv name = text_basename(dir);
		if (in_list(system_dirs, name))
			break;
		if (in_list(generic, name))
			weak = weak.len ? weak : name; /* /app/main.py: better than nothing */
		else if (!in_list(passages, name))
			return name;
		dir.len -= name.len + (dir.len > name.len);
	}
	return weak;
}

/* The directory of a path that may be relative to the process's working directory. */
static void directory_of(struct proc *p, struct sv path, struct sbuf *out)
{
	struct sv cwd, name = text_basename(path);
	sbuf_reset(out);
	if ((!path.len || path.data[0] != '/') && proc_cwd(p, &cwd) == 0) {
		sbuf_addsv(out, cwd);
		sbuf_addc(out, '/');
	}
	sbuf_add(out, path.data, path.len - name.len);
	while (out->len && out->data[out->len - 1] == '/')
		out->data[--out->len] = '\0';
}

/* A path's own name, or its project's where that says nothing. */
static void add_path_name(struct proc *p, struct sv path, struct sbuf *out)
{
	struct sv name = without_extension(text_basename(path));
	if (text_ends(path, SV(".jar")))
		name = without_version(name);
	struct sbuf dir = {0};
	struct sv project = SV_NULL;
	if (in_list(generic, name) || !name.len) {
		directory_of(p, path, &dir);
		project = project_of(sbuf_sv(&dir));
	}
	sbuf_addsv(out, project.len ? project : name);
	out->failed |= dir.failed;
	sbuf_release(&dir);
}

static void add_program_name(struct proc *p, struct sv exe, struct sv exe_name, struct sbuf *out)
{
	struct sv called = target_called(p, exe_name);
	if (sv_eq(called, exe_name))
		add_path_name(p, exe, out);
	else
		sbuf_addsv(out, without_extension(called));
}

/* shop.wsgi -> shop, com.acme.shop.Main -> shop; a lone generic name is looked up like a script's. */
static void add_dotted_name(struct proc *p, struct sv dotted, bool whole, struct sbuf *out)
{
	for (;;) {
		const char *dot = dotted.len ? memrchr(dotted.data, '.', dotted.len) : NULL;
		struct sv last = dot ? (struct sv){dot + 1, dotted.len - (size_t)(dot + 1 - dotted.data)} : dotted;
		if (!dot)
			return add_path_name(p, last, out);
		if (!in_list(generic, last))
			return sbuf_addsv(out, whole ? dotted : last);
		dotted.len = (size_t)(dot - dotted.data);
	}
}

static bool is_app_server(struct sv name)
{
	static const char *const names[] = {"gunicorn", "uvicorn",	  "hypercorn", "daphne",
					    "granian",	"waitress-serve", "celery",    NULL};
	return in_list(names, name);
}

/* What an application server serves: "shop.wsgi:application", celery's -A shop; empty when its arguments do not say. */
static struct sv served_module(struct sv args)
{
	struct sv arg;
	while (cmdline_next(&args, &arg)) {
		if (sv_eq(arg, SV("-A")) || sv_eq(arg, SV("--app")))
			return cmdline_next(&args, &arg) ? arg : SV_NULL;
		if (sv_starts(arg, SV("--app=")))
			return (struct sv){arg.data + 6, arg.len - 6};
		struct sv attribute = arg, module = text_until(&attribute, ':');
		bool plain = attribute.len && module.len && !(attribute.data[0] >= '0' && attribute.data[0] <= '9');
		for (size_t i = 0; plain && i < module.len; i++) {
			char c = module.data[i];
			plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
				(i && ((c >= '0' && c <= '9') || c == '.'));
		}
		if (plain)
			return module;
	}
	return SV_NULL;
}

static bool add_served(struct proc *p, const struct entry *e, struct sbuf *out)
{
	struct sv module = SV_NULL;
	if (is_app_server(without_extension(entry_name(e))))
		module = served_module(e->args);
	if (module.len)
		add_dotted_name(p, module, true, out);
	return out->len > 0;
}

void identify_default_service(struct proc *p, struct sv language, struct sbuf *out)
{
	struct entry entry;
	struct sv exe = SV_NULL, exe_name;
	target_names(p, &exe_name, &entry);
	proc_exe(p, &exe);
	sbuf_reset(out);
	if (add_served(p, &entry, out))
		return;
	if (entry.kind == ENTRY_SCRIPT || entry.kind == ENTRY_JAR)
		add_path_name(p, entry.what, out);
	else if (entry.kind == ENTRY_MODULE || entry.kind == ENTRY_CLASS)
		add_dotted_name(p, entry.what, entry.kind == ENTRY_MODULE, out);
	else if (entry.kind == ENTRY_PROGRAM && exe.len && !entry_language(exe_name).len)
		add_program_name(p, exe, exe_name, out);
	else if (entry.kind == ENTRY_PROGRAM && !exe.len)
		sbuf_addsv(out, p->comm);
	else if (sv_eq(entry.language, SV("shell")))
		sbuf_addsv(out, exe_name);
	else if (entry.kind == ENTRY_PROGRAM && sv_starts(exe_name, SV("php-fpm")))
		sbuf_adds(out, "php-fpm");
	if (!out->len)
		sbuf_addf(out, "unnamed-" SV_FMT "-service", SV_ARG(entry.language.len ? entry.language : language));
}
