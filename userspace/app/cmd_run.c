/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "app/cmd.h"
#include "base/cleanup.h"
#include "base/log.h"

#define EXIT_NOT_FOUND 127 /* as the shell has it */
#define EXIT_NO_EXEC   126

/* A child that executes the program when its end of the pipe is closed by us. */
static pid_t child_start(char **words, int *ret_release, int *ret_failure)
{
	int go[2], failed[2];
	if (pipe2(go, O_CLOEXEC) < 0 || pipe2(failed, O_CLOEXEC) < 0)
		return -errno;
	pid_t pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		char byte;
		close(go[1]);
		sigset_t none;
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		signal(SIGPIPE, SIG_DFL);
		if (read(go[0], &byte, 1) == 0)
			execvp(words[0], words);
		int err = errno;
		if (write(failed[1], &err, sizeof(err)) < 0)
			_exit(EXIT_NO_EXEC);
		_exit(err == ENOENT ? EXIT_NOT_FOUND : EXIT_NO_EXEC);
	}
	close(go[0]);
	close(failed[1]);
	*ret_release = go[1];
	*ret_failure = failed[0];
	return pid;
}

static int run_child(struct session *s, const struct options *o)
{
	int release = -1, failure = -1, status = 0, err = 0;
	pid_t pid = child_start(o->rest, &release, &failure);
	if (pid < 0) {
		log_error("cannot start a process: %s", strerror(-pid));
		return SESSION_FAILED;
	}
	enum session_end end = session_run(s, pid, release, &status);
	int ours = 0;
	if (read(failure, &err, sizeof(err)) == sizeof(err))
		log_error("cannot run %s: %s", o->rest[0], strerror(err));
	else
		ours = cmd_finish(s, o, end);
	close(failure);
	if (end != SESSION_CLEAN)
		kill(pid, SIGKILL); /* it never got to run */
	if (WIFSIGNALED(status))
		return 128 + WTERMSIG(status);
	return WEXITSTATUS(status) ? WEXITSTATUS(status) : ours;
}

int cmd_run(int argc, char **argv)
{
	struct options o;
	struct sbuf err = {0};
	struct session *s = NULL;
	int rc = options_parse(&o, COMMAND_run, argc, argv), status = options_exit_status(rc);

	if (rc == 0 && !o.rest_cnt) {
		log_error("run what? spanhound run [-f 'GLOB'] -- PROGRAM ARGUMENTS");
		status = EXIT_USAGE;
	} else if (rc == 0) {
		o.session.has_child = true;
		status = (int)session_open(&s, &o.session, &err);
		if (status != SESSION_CLEAN)
			log_error("%s", sbuf_str(&err));
	}
	if (s) {
		status = run_child(s, &o);
	}
	session_free(s);
	options_release(&o);
	sbuf_release(&err);
	return status;
}
