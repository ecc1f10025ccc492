/* SPDX-License-Identifier: Apache-2.0 */
#include "app/environment.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "trace/request_settings.h"

#define SAID_MAX 65536 /* bytes; what is wrong beyond that may be said again */

/* True the first time. */
static bool say_first(struct environment *e, struct sv line)
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

int environment_read(struct environment *e)
{
	struct sbuf mistakes = {0};
	for (const char *const *name = request_variables; *name; name++) {
		const char *value = getenv(*name);
		if (value)
			request_settings_put(&e->requests, *name, sv_of(value));
	}
	struct request_settings *tried = request_settings_new(sbuf_sv(&e->requests), NULL, &mistakes);
	environment_mistakes(e, NULL, sbuf_sv(&mistakes));
	bool failed = !tried || e->requests.failed;
	request_settings_unref(tried);
	sbuf_release(&mistakes);
	return failed ? -ENOMEM : 0;
}

void environment_release(struct environment *e)
{
	sbuf_release(&e->requests);
	sbuf_release(&e->said);
}
