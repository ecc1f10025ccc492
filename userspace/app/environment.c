/* SPDX-License-Identifier: Apache-2.0 */
#include "app/environment.h"

#include <errno.h>
#include <stdlib.h>

#include "app/settings.h"
#include "base/log.h"
#include "target/source.h"
#include "trace/request_settings.h"

#define SAID_MAX 65536 /* bytes; what is wrong beyond that may be said again */

/* True the first time. */
static bool say_first_locked(struct environment *e, struct sv line)
{
	struct sv said = sbuf_sv(&e->said);
	while (said.len) {
		const char *end = memchr(said.data, '\n', said.len);
		if (!end)
			break;
		size_t len = (size_t)(end - said.data);
		if (sv_eq((struct sv){said.data, len}, line))
			return false;
		said = (struct sv){said.data + len + 1, said.len - len - 1};
	}
	if (e->said.len + line.len < SAID_MAX) {
		sbuf_addsv(&e->said, line);
		sbuf_addc(&e->said, '\n');
	}
	return true;
}

static bool say_first(struct environment *e, struct sv line)
{
	pthread_mutex_lock(&e->lock);
	bool first = say_first_locked(e, line);
	pthread_mutex_unlock(&e->lock);
	return first;
}

void environment_mistakes(struct environment *e, const struct process_info *process, struct sv lines)
{
	while (lines.len) {
		const char *end = memchr(lines.data, '\n', lines.len);
		struct sv line = {lines.data, end ? (size_t)(end - lines.data) : lines.len};
		if (line.len && say_first(e, line)) {
			if (process)
				log_warn("in the environment of process %u (" SV_FMT "): " SV_FMT, process->pid,
					 SV_ARG(process->name), SV_ARG(line));
			else
				log_warn(SV_FMT, SV_ARG(line));
		}
		size_t skip = line.len + (end != NULL);
		lines = (struct sv){lines.data + skip, lines.len - skip};
	}
}

struct look {
	struct environment *environment;
	uint32_t pid; /* 0: ours */
	struct sv name;
	struct sbuf unsupported; /* names, by commas */
};

static void look_write(const struct look *look, int level, const char *sentence)
{
	if (look->pid)
		log_write(level, "in the environment of process %u (" SV_FMT "): %s", look->pid, SV_ARG(look->name),
			  sentence);
	else
		log_write(level, "%s", sentence);
}

static void look_say(void *arg, struct sv variable, const char *mistake)
{
	struct look *look = arg;
	/* What is not supported is said of the first who has it, whatever the value. */
	if (!say_first(look->environment, mistake ? sv_of(mistake) : variable))
		return;
	if (mistake) {
		look_write(look, LOG_WARN, mistake);
		return;
	}
	sbuf_adds(&look->unsupported, look->unsupported.len ? ", " : "");
	sbuf_addsv(&look->unsupported, variable);
}

static void look_end(struct look *look)
{
	struct sbuf text = {0};
	sbuf_addf(&text, "not supported here, ignored: %s", sbuf_str(&look->unsupported));
	if (look->unsupported.len)
		look_write(look, LOG_INFO, sbuf_str(&text));
	sbuf_release(&text);
	sbuf_release(&look->unsupported);
}

void environment_of_process(struct environment *e, uint32_t pid, struct sv name, struct sv vars)
{
	struct look look = {e, pid, name, {0}};
	settings_look(vars, true, look_say, &look);
	look_end(&look);
}

static void environment_look(struct environment *e)
{
	extern char **environ;
	struct look look = {.environment = e};
	for (char **at = environ; *at; at++)
		settings_look(sv_of(*at), false, look_say, &look);
	look_end(&look);
}

int environment_read(struct environment *e, struct sbuf *err)
{
	struct sbuf mistakes = {0};
	pthread_mutex_init(&e->lock, NULL);
	environment_look(e);
	for (const char *const *name = request_variables; *name; name++) {
		const char *value = getenv(*name);
		if (value)
			request_settings_put(&e->requests, *name, sv_of(value));
	}
	for (const char *const *name = source_variables; *name; name++) {
		const char *value = getenv(*name);
		if (value)
			request_settings_put(&e->requests, *name, sv_of(value));
	}
	struct request_settings *tried = request_settings_new(sbuf_sv(&e->requests), NULL, &mistakes);
	while (mistakes.len && mistakes.data[mistakes.len - 1] == '\n')
		mistakes.len--;
	sbuf_addsv(err, sbuf_sv(&mistakes));
	bool failed = !tried || e->requests.failed || mistakes.failed;
	int rc = failed ? -ENOMEM : mistakes.len ? -EINVAL : 0;
	request_settings_unref(tried);
	sbuf_release(&mistakes);
	return rc;
}

void environment_release(struct environment *e)
{
	sbuf_release(&e->requests);
	sbuf_release(&e->said);
}
