/* SPDX-License-Identifier: Apache-2.0 */
#include "app/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/confinement.h"
#include "app/settings.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/units.h"

#define IN(command)    (1u << COMMAND_##command)
#define IN_INFO	       IN(info)
#define IN_TARGETS     (IN(attach) | IN(check) | IN(functions) | IN(info) | IN(ps))
#define IN_ATTACH      IN(attach)
#define IN_PROBES      (IN(attach) | IN(run) | IN(functions) | IN(info))
#define IN_CONFIG      (IN_PROBES | IN(serve) | IN(ps))
#define IN_HUMAN       (IN(attach) | IN(run))
#define IN_SESSION     (IN(attach) | IN(run) | IN(serve))
#define IN_EXPORT      (IN(attach) | IN(run) | IN(replay) | IN(serve))
#define IN_CHECK       IN(check)
#define IN_CONTEXT     IN(context)
#define IN_JSON	       (IN(functions) | IN(info) | IN(ps) | IN(context))
#define IN_PS	       IN(ps)
#define IN_CORRELATE   IN(correlate)
#define IN_CHOICE      (IN_TARGETS | IN(serve))
#define IN_CTL	       IN(ctl)
#define IN_ALL	       ((1u << COMMANDS) - 1)

#define DEFAULT_CONFIG "/etc/spanhound/config.yaml"

enum option_id {
	OPTION_NONE = 256, /* above all letters */
#define HEADING(text, in)
#define OPTION(id, letter, name, argument, in, help) OPTION_##id,
#include "app/options.def"
#undef HEADING
#undef OPTION
};

static const struct option_line {
	int id;
	int letter;
	const char *name, *argument;
	unsigned in;
	const char *help;
} option_lines[] = {
#define HEADING(text, in)			     {0, 0, NULL, NULL, in, text},
#define OPTION(id, letter, name, argument, in, help) {OPTION_##id, letter, name, argument, in, help},
#include "app/options.def"
#undef HEADING
#undef OPTION
};
#define OPTION_LINES (sizeof(option_lines) / sizeof(option_lines[0]))

void options_each(enum command_id command, void (*fn)(void *arg, int letter, const char *name, const char *argument),
		  void *arg)
{
	for (size_t i = 0; i < OPTION_LINES; i++)
		if (option_lines[i].name && option_lines[i].in & (1u << command))
			fn(arg, option_lines[i].letter, option_lines[i].name, option_lines[i].argument);
}

/* Wraps help text behind a column of 30. */
static void print_help_text(const char *text)
{
	enum { COLUMN = 30, WIDTH = 100 };
	int at = COLUMN;
	while (*text) {
		int word = (int)strcspn(text, " ");
		if (at + word > WIDTH) {
			printf("\n%*s", COLUMN, "");
			at = COLUMN;
		}
		printf("%.*s", word, text);
		at += word;
		text += word;
		if (*text) {
			putchar(' ');
			at++;
			text++;
		}
	}
	putchar('\n');
}

void options_help(enum command_id command)
{
	const struct command *c = &commands[command];
	printf("usage: spanhound %s %s\n\n%s.\n", c->name, c->arguments, c->help);
	for (size_t i = 0; i < OPTION_LINES; i++) {
		const struct option_line *o = &option_lines[i];
		char left[64];
		if (!(o->in & (1u << command)))
			continue;
		if (!o->name) {
			printf("\n%s:\n", o->help);
			continue;
		}
		char letter[5] = "    ";
		if (o->letter)
			snprintf(letter, sizeof(letter), "-%c, ", o->letter);
		snprintf(left, sizeof(left), "  %s--%s%s%s", letter, o->name, o->argument ? " " : "",
			 o->argument ? o->argument : "");
		printf("%-29s ", left);
		print_help_text(o->help);
	}
	if (command == COMMAND_attach)
		puts("\nNo probe list is needed: each HTTP request that the processes serve or make is a span, linked to what caused\n"
		     "it across threads and processes. Functions named by -f or -c come between. --no-http leaves requests out.\n"
		     "\nExamples:\n"
		     "  spanhound attach --name nginx                          its requests, on the terminal or in an Agent\n"
		     "  spanhound attach --name nginx,gunicorn,shop            several programs: one trace through all of them\n"
		     "  spanhound attach --port 8080 -f '*order*'              requests, and the functions called for them\n"
		     "  spanhound attach --no-http --name redis-server -f 'z*' functions alone\n"
		     "  spanhound attach -c spanhound.yaml --export datadog    targets, routes and a probe list from a file\n"
		     "  spanhound attach -p 4242 -f 'libssl.so*:SSL_*' -d 10s  a library's functions, for ten seconds");
	if (command == COMMAND_context)
		puts("\nOne line for each thread of a process that a running spanhound traces: what it does at this moment, since when, and\n"
		     "the ids it is reported under, as 32 hexadecimal digits and as the two decimal numbers of Datadog's headers. The\n"
		     "innermost probed function goes before the request. Of Go programs the goroutines that serve requests are lines, too.\n"
		     "\nExample:\n"
		     "  spanhound attach --name gunicorn --control /run/shop.sock\n"
		     "  spanhound context --pid 4242 --socket /run/shop.sock");
	if (command == COMMAND_correlate)
		puts("\nA line gets ids when it has a time, in most usual forms, and exactly one span fits: of the process, the thread or the\n"
		     "HTTP request that the line names, the innermost one under way then. JSON lines get members, others\n"
		     "[dd.service=... dd.trace_id=... dd.span_id=...] at their end, as ddtrace writes them. Times without a zone are in TZ.\n"
		     "\nExample:\n"
		     "  spanhound attach --name gunicorn --export datadog --export json:spans.json -d 60s\n"
		     "  spanhound correlate --spans spans.json --only gunicorn app.log");
}

void options_help_all(void)
{
	puts("usage: spanhound COMMAND ...\n\nTraces programs that are already running, unmodified and without a restart.\n");
	for (int i = 0; i < COMMANDS; i++)
		printf("  %-11s %s\n", commands[i].name, commands[i].help);
	puts("\n`spanhound COMMAND --help` teaches each one. Begin with:\n"
	     "  spanhound info                                 what works here\n"
	     "  spanhound attach --name nginx                  trace its requests\n"
	     "  spanhound functions --name redis-server 'zs*'  what could be traced\n"
	     "  spanhound attach --name redis-server -f 'zs*'  trace that, too");
}

static int mistake(enum command_id command, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int mistake(enum command_id command, const char *fmt, ...)
{
	struct sbuf text = {0};
	va_list ap;
	va_start(ap, fmt);
	sbuf_vaddf(&text, fmt, ap);
	va_end(ap);
	log_error("%s", sbuf_str(&text));
	log_info("`spanhound %s --help` lists the options", commands[command].name);
	sbuf_release(&text);
	return -EINVAL;
}

/* One spec per option, so that options add up; "a,b" within one option does, too. */
static int add_target(struct options *o, int id, char *value)
{
	struct target_spec spec = {0};
	int rc = 0;
	for (char *save = NULL, *item = strtok_r(value, ",", &save); item && rc == 0;
	     item = strtok_r(NULL, ",", &save)) {
		char *end;
		long n = strtol(item, &end, 10);
		bool number = *item && !*end;
		switch (id) {
		case OPTION_NAME:
			rc = vec_push(&spec.names, sv_of(item));
			break;
		case OPTION_EXE:
			rc = vec_push(&spec.exes, sv_of(item));
			break;
		case OPTION_CMDLINE:
			rc = vec_push(&spec.cmdlines, sv_of(item));
			break;
		case OPTION_CONTAINER:
			rc = vec_push(&spec.containers, sv_of(item));
			break;
		case OPTION_PID:
			if (!number || n < 1 || n > INT32_MAX)
				return mistake(COMMAND_attach, "--pid '%s' is not a process id", item);
			rc = vec_push(&spec.pids, (int)n);
			break;
		case OPTION_PORT:
			if (!number || n < 1 || n > 65535)
				return mistake(COMMAND_attach, "--port '%s' is not a port (1 to 65535)", item);
			rc = vec_push(&spec.ports, (int)n);
			break;
		}
	}
	return rc < 0 ? rc : vec_push(&o->list->targets, spec);
}

static int set_link(struct options *o, enum command_id command, const char *value)
{
	for (int i = 0; i < LINK_KINDS; i++)
		if (strcmp(value, link_kind_names[i]) == 0) {
			o->session.link = i;
			return 0;
		}
	return mistake(command, "--link '%s' is none of session, multi, perf", value);
}

static int set_end(struct options *o, enum command_id command, const char *value)
{
	static const char *const names[] = {"auto", "return", "sites"};
	for (int i = 0; i < 3; i++)
		if (strcmp(value, names[i]) == 0) {
			o->session.ends = (enum site_ends_wanted)i;
			return 0;
		}
	return mistake(command, "--end '%s' is none of auto, return, sites", value);
}

static int set_number(enum command_id command, const char *name, const char *value, uint64_t max, uint64_t *ret)
{
	char *end;
	errno = 0;
	unsigned long long n = strtoull(value, &end, 10);
	if (!*value || *end || errno || n < 1 || n > max || *value == '-')
		return mistake(command, "--%s '%s' is not a whole number from 1 to %llu", name, value,
			       (unsigned long long)max);
	*ret = n;
	return 0;
}

static int add_export(struct options *o, const char *value)
{
	if (strncmp(value, "capture:", 8) == 0) {
		o->session.capture = value + 8;
		return 0;
	}
	return vec_push(&o->session.exports, sv_of(value));
}

static int set_summary(struct options *o, enum command_id command, const char *value)
{
	if (strncmp(value, "json:", 5) != 0 || !value[5])
		return mistake(command, "--summary '%s' is not json:FILE", value);
	o->summary = value + 5;
	if (strcmp(o->summary, "-") != 0)
		confine_will_write(o->summary);
	return 0;
}

static int set_log_level(enum command_id command, const char *value)
{
	static const char *const levels[] = {"error", "warn", "info", "debug"};
	for (unsigned i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
		if (strcmp(value, levels[i]) == 0) {
			log_level = (enum log_level)i;
			return 0;
		}
	return mistake(command, "--log-level '%s' is none of error, warn, info, debug", value);
}

static int set_confine(struct options *o, enum command_id command, const char *value)
{
	o->session.confine_asked = true;
	if (confinement_parse(value, &o->session.confine) < 0)
		return mistake(command, "--confine '%s' is none of all, none, or some of capabilities,seccomp,landlock",
			       value);
	return 0;
}

static int apply_session_option(struct options *o, enum command_id command, int id, char *value)
{
	uint64_t n = 0;
	int rc;
	switch (id) {
	case OPTION_MAX_FUNCTIONS:
		rc = set_number(command, "max-functions", value, 1 << 20, &n);
		o->session.max_functions = (uint32_t)n;
		return rc;
	case OPTION_COUNT:
		return set_number(command, "count", value, UINT64_MAX, &o->session.count);
	case OPTION_DURATION:
		if (!units_duration(sv_of(value), &o->session.duration_ns) || !o->session.duration_ns)
			return mistake(command, "--duration '%s' is not a time such as 500ms, 10s, 5m, 1h", value);
		return 0;
	case OPTION_RING_SIZE:
		if (!units_size(sv_of(value), &o->session.ring_size) || o->session.ring_size < 65536 ||
		    o->session.ring_size > 1ULL << 31)
			return mistake(command, "--ring-size '%s' is not a size from 64k to 2g", value);
		return 0;
	case OPTION_LINK:
		return set_link(o, command, value);
	case OPTION_END:
		return set_end(o, command, value);
	case OPTION_SUMMARY:
		return set_summary(o, command, value);
	case OPTION_LOG_FORMAT:
		if (strcmp(value, "text") != 0 && strcmp(value, "json") != 0)
			return mistake(command, "--log-format '%s' is neither text nor json", value);
		log_format = *value == 'j' ? LOG_JSON : LOG_TEXT;
		return 0;
	case OPTION_LOG_LEVEL:
		return set_log_level(command, value);
	case OPTION_CONFINE:
		return set_confine(o, command, value);
	case OPTION_WAIT:
		o->session.wait = true;
		return 0;
	case OPTION_TRACE_INSTRUMENTED:
		o->list->trace_instrumented = true;
		return 0;
	case OPTION_CONTROL:
		o->session.control = value;
		return 0;
	case OPTION_NO_HTTP:
		o->session.no_http = true;
		return 0;
	case OPTION_INJECT:
	case OPTION_NO_INJECT:
		o->session.inject = id == OPTION_INJECT;
		o->session.no_inject = id == OPTION_NO_INJECT;
		o->session.tcp_option &= !o->session.no_inject;
		return 0;
	case OPTION_TCP_OPTION:
		o->session.tcp_option = true;
		return 0;
	}
	return 0;
}

static int apply_option(struct options *o, enum command_id command, int id, char *value)
{
	struct sbuf err = {0};
	int rc = 0;
	switch (id) {
	case OPTION_NAME:
	case OPTION_PID:
	case OPTION_EXE:
	case OPTION_CMDLINE:
	case OPTION_PORT:
	case OPTION_CONTAINER:
		return add_target(o, id, value);
	case OPTION_FUNCTION:
		rc = probe_list_add_function(o->list, value, &err);
		if (rc < 0)
			rc = mistake(command, "--function '%s': %s", value, sbuf_str(&err));
		sbuf_release(&err);
		return rc < 0 ? rc : vec_push(&o->functions, sv_of(value));
	case OPTION_EXPORT:
		return add_export(o, value);
	case OPTION_JSON:
		o->json = true;
		return 0;
	case OPTION_SPANS:
		o->spans = value;
		return 0;
	case OPTION_ONLY:
		o->only = value;
		return 0;
	case OPTION_ANY_PID:
		o->any_pid = true;
		return 0;
	case OPTION_ALL:
		o->all = true;
		return 0;
	case OPTION_SOCKET:
		o->socket = value;
		return 0;
	case OPTION_FILE:
		o->file = value;
		return 0;
	case OPTION_KEYS:
		o->keys = true;
		return 0;
	case OPTION_SETTINGS_TABLE:
		o->settings_table = true;
		return 0;
	case OPTION_VERBOSE:
		log_level = LOG_DEBUG;
		return 0;
	case OPTION_QUIET:
		log_level = LOG_WARN;
		o->session.quiet = true;
		return 0;
	case OPTION_HELP:
		options_help(command);
		return 1;
	}
	return apply_session_option(o, command, id, value);
}

/* getopt's tables for one command, from ours. */
static void getopt_tables(enum command_id command, struct option *longs, char *shorts)
{
	*shorts++ = '+'; /* stop at the first word that is no option: it may be run's program */
	*shorts++ = ':';
	for (size_t i = 0; i < OPTION_LINES; i++) {
		const struct option_line *o = &option_lines[i];
		if (!o->name || !(o->in & (1u << command)))
			continue;
		*longs++ = (struct option){o->name, o->argument ? required_argument : no_argument, NULL, o->id};
		if (o->letter) {
			*shorts++ = (char)o->letter;
			if (o->argument)
				*shorts++ = ':';
		}
	}
	*shorts = '\0';
	*longs = (struct option){0};
}

static int option_of_letter(enum command_id command, int letter)
{
	for (size_t i = 0; i < OPTION_LINES; i++)
		if (option_lines[i].name && option_lines[i].letter == letter && option_lines[i].in & (1u << command))
			return option_lines[i].id;
	return letter;
}

static int load_config(struct options *o, enum command_id command, const char *path)
{
	struct sbuf text = {0};
	int rc = command == COMMAND_serve ? probe_list_load_guarded(&o->list, path, &o->diagnostics)
					  : probe_list_load(&o->list, path, &o->diagnostics);
	o->session.config = path;
	if (o->diagnostics.error_cnt || rc < 0) {
		diagnostics_print(&o->diagnostics, &text);
		fputs(sbuf_str(&text), stderr);
		if (rc == 0)
			rc = -EINVAL;
	}
	sbuf_release(&text);
	return rc < 0 ? -EBADMSG : 0;
}

/* --config first: the other options add to what it says. */
static int find_config(struct options *o, enum command_id command, int argc, char **argv, const struct option *longs,
		       const char *shorts)
{
	int rc = 0, c;
	bool help = false;
	optind = 1;
	opterr = 0;
	while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		help |= c == OPTION_HELP || option_of_letter(command, c) == OPTION_HELP;
		if (c != OPTION_CONFIG && option_of_letter(command, c) != OPTION_CONFIG)
			continue;
		if (o->list)
			return mistake(command, "--config was given twice; one file holds targets and probes");
		rc = load_config(o, command, optarg);
		if (rc < 0)
			return rc;
	}
	if (!o->list && command == COMMAND_serve && !help)
		return load_config(o, command, DEFAULT_CONFIG);
	if (!o->list)
		o->list = probe_list_new();
	return o->list ? 0 : -ENOMEM;
}

/* For settings_resolve(). --no-x says that x is not so. */
static int note_flag(struct options *o, int id, const char *value)
{
	for (size_t i = 0; i < OPTION_LINES; i++) {
		const struct option_line *line = &option_lines[i];
		if (!line->name || line->id != id)
			continue;
		const char *text = line->argument ? value : strncmp(line->name, "no-", 3) ? "true" : "false";
		return vec_push(&o->flags, ((struct tag){sv_of(line->name), sv_of(text)}));
	}
	return 0;
}

static int parse_words(struct options *o, enum command_id command, int argc, char **argv)
{
	struct option longs[OPTION_LINES + 1];
	char shorts[2 * OPTION_LINES + 4];
	int c, index = 0;

	getopt_tables(command, longs, shorts);
	int rc = find_config(o, command, argc, argv, longs, shorts);
	if (rc < 0)
		return rc;
	optind = 1;
	bool permute = command != COMMAND_run;
	VEC(char *) rest = {0};
	while (rc == 0) {
		c = getopt_long(argc, argv, shorts, longs, &index);
		if (c == -1) {
			if (!permute || optind >= argc || strcmp(argv[optind - 1], "--") == 0)
				break;
			rc = vec_push(&rest, argv[optind++]);
			continue;
		}
		if (c == '?')
			rc = mistake(command, "unknown option '%s'", argv[optind - 1]);
		else if (c == ':')
			rc = mistake(command, "option '%s' needs a value", argv[optind - 1]);
		else
			rc = apply_option(o, command, option_of_letter(command, c), optarg);
		if (rc == 0)
			rc = note_flag(o, option_of_letter(command, c), optarg);
	}
	for (; rc == 0 && optind < argc; optind++)
		rc = vec_push(&rest, argv[optind]);
	if (rc == 0)
		rc = vec_push(&rest, NULL); /* for execvp */
	o->rest = rest.data;
	o->rest_cnt = (int)rest.cnt - 1;
	return rc;
}

static int append_tags(struct tag_vec *to, const struct tag_vec *from)
{
	int rc = 0;
	for (size_t i = 0; i < from->cnt && rc == 0; i++)
		rc = vec_push(to, from->data[i]);
	return rc;
}

/* A target is another one when what holds for all targets is. */
static int whole_canonical(struct probe_list *list, struct target_spec *t)
{
	struct sbuf text = {0};
	sbuf_addsv(&text, t->canonical);
	sbuf_addsv(&text, list->canonical_spread);
	t->canonical = arena_dup(&list->arena, sbuf_sv(&text));
	bool failed = text.failed || !t->canonical.data;
	sbuf_release(&text);
	return failed ? -ENOMEM : 0;
}

/* A daemon whose list names nobody: what listens, for that is what serves somebody. */
static int add_policy(struct probe_list *list)
{
	struct target_spec listening = {.listening = true, .canonical = SV("policy: listening")};
	if (list->targets.cnt || list->service_of_daemon.not_listening)
		return 0;
	return vec_push(&list->targets, listening);
}

/* What the list says for all targets holds where a target says nothing. */
int options_settle(struct probe_list *list, enum command_id command)
{
	int rc = command == COMMAND_serve ? add_policy(list) : 0;
	for (size_t i = 0; i < list->targets.cnt && rc == 0; i++) {
		struct target_spec *t = &list->targets.data[i];
		t->service = t->service.len ? t->service : list->service;
		t->env = t->env.len ? t->env : list->env;
		t->version = t->version.len ? t->version : list->version;
		t->more_routes = &list->routes;
		t->number = (uint32_t)i + 1;
		rc = whole_canonical(list, t);
		if (rc < 0)
			break;
		rc = append_tags(&t->tags, &list->tags);
		if (rc == 0)
			rc = append_tags(&t->settings, &list->settings);
	}
	return rc;
}

static int apply_settings(struct options *o)
{
	struct sbuf err = {0};
	int rc = settings_apply(o, &err);
	if (rc < 0)
		log_error("%s", err.len ? sbuf_str(&err) : strerror(-rc));
	sbuf_release(&err);
	return rc;
}

int options_parse(struct options *ret, enum command_id command, int argc, char **argv)
{
	*ret = (struct options){.session = {.link = -1, .confine = CONFINE_ALL}};
	int rc = parse_words(ret, command, argc, argv);
	if (rc != 0)
		return rc;
	if (!ret->session.exports.cnt)
		for (size_t i = 0; i < ret->list->exports.cnt && rc == 0; i++) {
			struct sv text = ret->list->exports.data[i].text;
			rc = add_export(ret, text.data);
		}
	if (ret->session.capture && !*ret->session.capture)
		return mistake(command, "--export capture: needs a file: capture:FILE");
	rc = options_settle(ret->list, command);
	if (rc == 0 && (1u << command) & (IN_EXPORT | IN_INFO))
		rc = apply_settings(ret);
	ret->session.list = ret->list;
	ret->session.diagnostics = &ret->diagnostics;
	ret->session.function_options = ret->functions;
	return rc;
}

void options_release(struct options *o)
{
	probe_list_free(o->list);
	diagnostics_release(&o->diagnostics);
	vec_release(&o->functions);
	vec_release(&o->flags);
	vec_release(&o->session.exports);
	free(o->rest);
	*o = (struct options){0};
}

int options_exit_status(int rc)
{
	return rc > 0 ? EXIT_SUCCESS : EXIT_USAGE;
}
