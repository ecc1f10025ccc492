/* SPDX-License-Identifier: Apache-2.0 */
#include "target/entry.h"

#include "target/procparse.h"
#include "target/text.h"

/* How an interpreter's own options look, so that the first argument that is not one can be found. In `value` and
 * `code` short options stand as letters, as in getopt; the long ones are words between spaces. What is written
 * -Xvalue or --option=value needs no mention. */
struct interpreter {
	const char *name; /* version digits and dots may follow */
	const char *language;
	const char *value;	/* letters that take the next argument when nothing follows them */
	const char *attached;	/* letters whose value can only follow at once: the rest of the cluster */
	const char *code;	/* letters whose value is the program itself */
	const char *long_value; /* as `value`, words with their dashes */
	const char *long_code;
	const char *command; /* words before the script that are no script: "deno run" */
	char module;	     /* letter whose value is a module */
	char file;	     /* letter whose value is the script */
	bool single_dash;    /* java: -cp is a word, not letters */
};

#define NODE_WORDS                                                                                                 \
	" --require --import --loader --experimental-loader --conditions --title --icu-data-dir --openssl-config " \
	"--redirect-warnings --diagnostic-dir --disable-warning --env-file --inspect-port --input-type "           \
	"--max-http-header-size --report-dir --report-directory --report-filename --trace-event-categories "       \
	"--unhandled-rejections --dns-result-order --cpu-prof-dir --heap-prof-dir --localstorage-file "
#define JAVA_WORDS                                                                                                     \
	" -cp -classpath --class-path -p --module-path --upgrade-module-path --add-modules --add-reads --add-exports " \
	"--add-opens --limit-modules --patch-module --source --describe-module -d --enable-native-access "
#define DOTNET_WORDS \
	" --depsfile --runtimeconfig --additionalprobingpath --fx-version --roll-forward --additional-deps "
#define SHELL(word)                                                                                                   \
	{                                                                                                             \
		.name = word, .language = "shell", .value = "oO", .code = "c", .long_value = " --rcfile --init-file " \
	}

/* From each program's own --help or manual: CPython 3.13, node 20, ruby 3.1, perl 5.36, PHP 8.2, bash 5.2, java 17. */
static const struct interpreter interpreters[] = {
	{.name = "python",
	 .language = "python",
	 .value = "WXQ",
	 .code = "c",
	 .module = 'm',
	 .long_value = " --check-hash-based-pycs "},
	{.name = "pypy", .language = "python", .value = "WX", .code = "c", .module = 'm'},
	{.name = "node",
	 .language = "javascript",
	 .value = "rC",
	 .code = "ep",
	 .long_value = NODE_WORDS,
	 .long_code = " --eval --print "},
	{.name = "nodejs",
	 .language = "javascript",
	 .value = "rC",
	 .code = "ep",
	 .long_value = NODE_WORDS,
	 .long_code = " --eval --print "},
	{.name = "bun",
	 .language = "javascript",
	 .value = "rc",
	 .code = "ep",
	 .command = " run ",
	 .long_value = " --preload --require --cwd --config --env-file ",
	 .long_code = " --eval --print "},
	{.name = "deno",
	 .language = "javascript",
	 .value = "c",
	 .command = " run serve ",
	 .long_value = " --config --import-map --lock --cert "},
	{.name = "ruby",
	 .language = "ruby",
	 .value = "CEIrK",
	 .attached = "FTWxi0",
	 .code = "e",
	 .long_value = " --encoding --external-encoding --internal-encoding "},
	{.name = "perl", .language = "perl", .value = "I", .attached = "MmFDCVixl0", .code = "eE"},
	{.name = "php",
	 .language = "php",
	 .value = "cdtSz",
	 .code = "rBRE",
	 .file = 'f',
	 .long_value = " --php-ini --define --docroot --server ",
	 .long_code = " --run "},
	SHELL("bash"),
	SHELL("sh"),
	SHELL("dash"),
	SHELL("ash"),
	SHELL("zsh"),
	SHELL("ksh"),
	{.name = "lua", .language = "lua", .value = "l", .code = "e"},
	{.name = "luajit", .language = "lua", .value = "lbj", .attached = "O", .code = "e"},
	{.name = "dotnet", .language = "dotnet", .long_value = DOTNET_WORDS, .command = " exec "},
	{.name = "java", .language = "jvm", .long_value = JAVA_WORDS, .single_dash = true},
};

static const struct interpreter *interpreter_of(struct sv name)
{
	if (name.len && name.data[0] == '-') /* a login shell's argv[0] */
		name = (struct sv){name.data + 1, name.len - 1};
	for (size_t i = 0; i < sizeof(interpreters) / sizeof(interpreters[0]); i++) {
		struct sv known = sv_of(interpreters[i].name);
		if (!sv_starts(name, known))
			continue;
		size_t n = known.len;
		while (n < name.len && ((name.data[n] >= '0' && name.data[n] <= '9') || name.data[n] == '.'))
			n++;
		/* python3.11d (debug), python3.13t (free-threaded), python3.6m */
		if (n < name.len && n > known.len && strchr("dmt", name.data[n]))
			n++;
		if (n == name.len)
			return &interpreters[i];
	}
	return NULL;
}

struct sv entry_language(struct sv exe_name)
{
	const struct interpreter *in = interpreter_of(exe_name);
	if (in)
		return sv_of(in->language);
	if (sv_starts(exe_name, SV("php-fpm")) || sv_starts(exe_name, SV("php-cgi")))
		return SV("php");
	return SV_NULL;
}

static bool listed(const char *words, struct sv word)
{
	char key[64];
	if (!words || !word.len || word.len + 3 > sizeof(key) || memchr(word.data, ' ', word.len))
		return false;
	key[0] = ' ';
	memcpy(key + 1, word.data, word.len);
	memcpy(key + 1 + word.len, " ", 2);
	return strstr(words, key);
}

static bool has(const char *letters, char c)
{
	return c && letters && strchr(letters, c);
}

/* The value of an option: what is left of its own argument, or the next one. */
static struct sv option_value(struct sv arg, size_t behind, struct sv *rest)
{
	struct sv next = SV_NULL;
	if (behind < arg.len)
		return (struct sv){arg.data + behind, arg.len - behind};
	cmdline_next(rest, &next);
	return next;
}

/* A cluster of letters such as -uBc. 1: the entry was found. */
static int short_options(const struct interpreter *in, struct sv arg, struct sv *rest, struct entry *e)
{
	for (size_t i = 1; i < arg.len; i++) {
		char c = arg.data[i];
		if (has(in->code, c)) {
			e->kind = ENTRY_INLINE;
			option_value(arg, i + 1, rest);
			return 1;
		}
		if (c && (c == in->module || c == in->file)) {
			e->kind = c == in->module ? ENTRY_MODULE : ENTRY_SCRIPT;
			e->what = option_value(arg, i + 1, rest);
			return 1;
		}
		if (has(in->value, c)) {
			option_value(arg, i + 1, rest);
			return 0;
		}
		if (has(in->attached, c))
			return 0;
	}
	return 0;
}

static int word_option(const struct interpreter *in, struct sv arg, struct sv *rest, struct entry *e)
{
	struct sv value;
	if (in->single_dash && (sv_eq(arg, SV("-jar")) || sv_eq(arg, SV("-m")) || sv_eq(arg, SV("--module")))) {
		e->kind = sv_eq(arg, SV("-jar")) ? ENTRY_JAR : ENTRY_CLASS;
		if (!cmdline_next(rest, &e->what))
			e->what = SV_NULL;
		/* module/class: the class says more */
		struct sv after = e->what;
		text_until(&after, '/');
		if (e->kind == ENTRY_CLASS && after.len)
			e->what = after;
		return 1;
	}
	struct sv ahead = arg, word = text_until(&ahead, '=');
	if (listed(in->long_code, word)) {
		e->kind = ENTRY_INLINE;
		return 1;
	}
	if (listed(in->long_value, arg))
		cmdline_next(rest, &value);
	return 0;
}

/* One option; 1: the entry was found. */
static int option(const struct interpreter *in, struct sv arg, struct sv *rest, struct entry *e)
{
	if (in->single_dash || (arg.len > 1 && arg.data[1] == '-'))
		return word_option(in, arg, rest, e);
	return short_options(in, arg, rest, e);
}

static void find_script(const struct interpreter *in, struct sv rest, struct entry *e)
{
	struct sv arg;
	bool command = true, options = true;
	while (cmdline_next(&rest, &arg)) {
		if (options && sv_eq(arg, SV("--"))) {
			options = false;
		} else if (sv_eq(arg, SV("-"))) {
			e->kind = ENTRY_INLINE;
			break;
		} else if (options && arg.len && (arg.data[0] == '-' || (arg.data[0] == '+' && has(in->value, 'o')))) {
			if (option(in, arg, &rest, e))
				break;
		} else if (in->single_dash && arg.len && arg.data[0] == '@') {
			continue; /* java's argument files: what is in them is not looked at */
		} else if (command && listed(in->command, arg)) {
			command = false;
		} else if (arg.len) {
			/* A class, or since Java 11 a source file. */
			bool class = in->single_dash && !text_ends(arg, SV(".java"));
			e->kind = class ? ENTRY_CLASS : ENTRY_SCRIPT;
			e->what = arg;
			break;
		}
	}
	e->args = rest;
}

/* setproctitle(3) and its ports leave one argument, "gunicorn: master [shop]" or "[celeryd: w1]". */
static bool is_title(struct sv cmdline, struct entry *e)
{
	struct sv rest = cmdline, title;
	if (!cmdline_next(&rest, &title) || rest.len)
		return false;
	if (title.len && title.data[0] == '[')
		title = (struct sv){title.data + 1, title.len - 1};
	struct sv word = text_until(&title, ':');
	if (!title.len || !word.len || memchr(word.data, ' ', word.len) || memchr(word.data, '/', word.len))
		return false;
	e->kind = ENTRY_SCRIPT;
	e->what = word;
	text_until(&title, '[');
	e->args = text_until(&title, ']'); /* gunicorn puts there what it serves */
	return true;
}

/* env [-i] [-u NAME] [-C DIR] [NAME=value...] program: what comes behind. */
static struct sv skip_env(struct sv rest)
{
	struct sv arg, ahead = rest;
	while (cmdline_next(&ahead, &arg)) {
		if (sv_eq(arg, SV("-u")) || sv_eq(arg, SV("-C")))
			cmdline_next(&ahead, &arg);
		else if (!(arg.len && arg.data[0] == '-') && !(arg.len && memchr(arg.data, '=', arg.len)))
			return rest;
		rest = ahead;
	}
	return SV_NULL;
}

void entry_find(struct sv exe_name, struct sv cmdline, struct entry *ret)
{
	struct sv rest = cmdline, first = SV_NULL;
	*ret = (struct entry){.kind = ENTRY_PROGRAM};
	cmdline_next(&rest, &first);
	if (sv_eq(text_basename(first), SV("env"))) {
		rest = skip_env(rest);
		cmdline_next(&rest, &first);
		exe_name = SV_NULL;
	}
	const struct interpreter *in = interpreter_of(exe_name);
	/* busybox and other programs of many names: argv[0] says which one it is. */
	bool known_program = exe_name.len && !sv_eq(exe_name, SV("busybox")) && !sv_eq(exe_name, SV("toybox"));
	if (!in && !known_program)
		in = interpreter_of(text_basename(first));
	if (!in) {
		ret->language = entry_language(exe_name);
		return;
	}
	ret->language = sv_of(in->language);
	if (!interpreter_of(text_basename(first)) && is_title(cmdline, ret))
		return;
	find_script(in, rest, ret);
}

struct sv entry_name(const struct entry *e)
{
	switch (e->kind) {
	case ENTRY_SCRIPT:
	case ENTRY_JAR:
		return text_basename(e->what);
	case ENTRY_MODULE:
	case ENTRY_CLASS:
		return e->what;
	default:
		return SV_NULL;
	}
}
