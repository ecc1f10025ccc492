/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "app/cmd.h"
#include "app/control.h"
#include "base/cleanup.h"
#include "base/log.h"

static const char usage[] = "ctl does: status, flush, reload, probe list, probe add -f FILE, probe remove N";

/* "-": standard input. */
static int add_file(const char *path, struct sbuf *request)
{
	bool is_stdin = strcmp(path, "-") == 0;
	__cleanup(closep) int fd = is_stdin ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && request->len <= CONTROL_MAX_REQUEST) {
		char *at = sbuf_reserve(request, 4096);
		ssize_t n = at ? read(fd, at, 4096) : -1;
		if (n == 0)
			return 0;
		if (n < 0)
			break;
		request->len += (size_t)n;
	}
	if (request->len > CONTROL_MAX_REQUEST)
		log_error("%s is more than %d KiB", path, CONTROL_MAX_REQUEST >> 10);
	else
		log_error("cannot read %s: %s", path, strerror(errno));
	return -EINVAL;
}

static int make_request(const struct options *o, struct sbuf *request)
{
	bool add = o->rest_cnt == 2 && !strcmp(o->rest[0], "probe") && !strcmp(o->rest[1], "add");
	for (int i = 0; i < o->rest_cnt; i++)
		sbuf_addf(request, "%s%s", i ? " " : "", o->rest[i]);
	sbuf_addc(request, '\n');
	if (add != (o->file != NULL) || !o->rest_cnt) {
		log_error("%s", usage);
		return -EINVAL;
	}
	return add ? add_file(o->file, request) : 0;
}

int cmd_ctl(int argc, char **argv)
{
	struct options o;
	struct sbuf request = {0}, answer = {0};
	int rc = options_parse(&o, COMMAND_ctl, argc, argv), status = options_exit_status(rc);

	if (rc == 0 && make_request(&o, &request) < 0) {
		status = EXIT_USAGE;
	} else if (rc == 0) {
		int ok = control_ask(o.socket ? o.socket : CONTROL_SOCKET, sbuf_sv(&request), &answer);
		if (ok > 0)
			fputs(sbuf_str(&answer), stdout);
		else
			log_error("%s", sbuf_str(&answer));
		status = ok > 0 ? SESSION_CLEAN : ok == 0 ? SESSION_MISTAKE : SESSION_FAILED;
	}
	options_release(&o);
	sbuf_release(&request);
	sbuf_release(&answer);
	return status;
}
