/* SPDX-License-Identifier: Apache-2.0 */
/* console: traces as trees on standard output. Colours only on a terminal and without NO_COLOR (no-color.org); glyphs
 * beyond ASCII only when the locale's character set is UTF-8; as wide as COLUMNS or the terminal says, else 80. */
#include <errno.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "export/console_tree.h"
#include "export/outfile.h"

struct exporter {
	struct outfile out;
	struct console_style style;
	struct console_tree tree;
};

/* Of LC_ALL, LC_CTYPE and LANG the first that is set counts (POSIX, 8.2). */
static bool locale_is_utf8(void)
{
	static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const char *value = getenv(names[i]);
		if (!value || !*value)
			continue;
		const char *charset = strchr(value, '.');
		return charset && (strncasecmp(charset, ".utf-8", 6) == 0 || strncasecmp(charset, ".utf8", 5) == 0);
	}
	return false;
}

static bool wants_color(int fd)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
	return isatty(fd) && !(no && *no) && term && strcmp(term, "dumb") != 0;
}

static unsigned columns(int fd)
{
	const char *text = getenv("COLUMNS");
	long cols = text ? strtol(text, NULL, 10) : 0;
	struct winsize size;
	if (cols <= 0 && ioctl(fd, TIOCGWINSZ, &size) == 0)
		cols = size.ws_col;
	return cols <= 0 ? 80 : cols > 500 ? 500 : (unsigned)cols;
}

static int console_open(struct exporter **ret, const char *argument, struct sbuf *err)
{
	if (argument) {
		sbuf_addf(err, "console takes no argument, not '%s'; for a file use json:FILE", argument);
		return -EINVAL;
	}
	struct exporter *e = calloc(1, sizeof(*e));
	int r = e ? outfile_open(&e->out, "-", err) : -ENOMEM;
	if (r < 0) {
		free(e);
		return r;
	}
	e->style = (struct console_style){.utf8 = locale_is_utf8(), .color = wants_color(e->out.fd)};
	*ret = e;
	return 0;
}

static void console_set_notice(struct exporter *e, void (*notice)(void *arg, const char *line), void *arg)
{
	e->out.notice = notice;
	e->out.notice_arg = arg;
}

static int console_write(struct exporter *e, const struct chunk *chunks)
{
	e->style.width = columns(e->out.fd); /* windows are resized */
	for (const struct chunk *c = chunks; c; c = c->next) {
		console_tree_print(&e->tree, c, &e->style, outfile_begin(&e->out));
		outfile_commit(&e->out, c->span_cnt);
	}
	outfile_pump(&e->out, 0);
	return 0;
}

static int console_tick(struct exporter *e, uint64_t now_ns)
{
	(void)now_ns;
	outfile_pump(&e->out, 0);
	return 0;
}

static unsigned console_pollfds(const struct exporter *e, struct pollfd *fds, unsigned cap, uint64_t *ret_due_ns)
{
	(void)ret_due_ns;
	return outfile_pollfds(&e->out, fds, cap);
}

static void console_flush(struct exporter *e, uint64_t deadline_ns)
{
	outfile_pump(&e->out, deadline_ns);
	outfile_discard(&e->out);
}

static void console_stats(const struct exporter *e, struct exporter_stats *ret)
{
	*ret = e->out.stats;
}

static void console_describe(const struct exporter *e, struct sbuf *out)
{
	sbuf_addf(out, "console%s", e->out.gone ? ": closed by its reader" : "");
}

static void console_close(struct exporter *e)
{
	outfile_close(&e->out);
	console_tree_release(&e->tree);
	free(e);
}

const struct exporter_ops console_exporter = {
	.name = "console",
	.help = "a tree per trace, on standard output",
	.open = console_open,
	.set_notice = console_set_notice,
	.write = console_write,
	.tick = console_tick,
	.pollfds = console_pollfds,
	.flush = console_flush,
	.stats = console_stats,
	.describe = console_describe,
	.close = console_close,
};
