/* SPDX-License-Identifier: Apache-2.0 */
/* Loads a library long after its start (argv[0] of the case), calls it for a while. */
#include "truth.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

PROBED static long p_load(const char *path)
{
	ENTER("p_load");
	void *library = dlopen(path, RTLD_NOW);
	if (!library) {
		fprintf(stderr, "%s\n", dlerror());
		exit(4);
	}
	RETURN((long)dlsym(library, "p_plug_work"));
}

static void work_often(long (*work)(long))
{
	struct timespec step = {0, 5000000};

	for (int i = 0; i < 100; i++) {
		work(i);
		nanosleep(&step, NULL);
	}
}

static void case_dlopen(int argc, char **argv)
{
	if (argc < 1)
		exit(2);
	work_often((long (*)(long))p_load(argv[0]));
}

/* The same, with another line awaited between the load and the calls. */
static void case_dlopen_hold(int argc, char **argv)
{
	long (*work)(long);
	char line[16];

	if (argc < 1)
		exit(2);
	work = (long (*)(long))p_load(argv[0]);
	if (fgets(line, sizeof(line), stdin))
		work_often(work);
}

/* The child calls it, too, from its first moment on; the parent waits for it. argv[0]: the library */
static void case_dlopen_fork(int argc, char **argv)
{
	long (*work)(long);
	char line[16];
	int status;

	if (argc < 1)
		exit(2);
	work = (long (*)(long))p_load(argv[0]);
	if (!fgets(line, sizeof(line), stdin))
		exit(3);
	work(1);
	pid_t pid = fork();
	if (pid == 0) {
		work_often(work);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		exit(5);
	work(2);
}

/* The same calls over and over, for a process that is found only after it began. argv[0]: milliseconds */
PROBED static long p_tick(long i)
{
	ENTER("p_tick");
	RETURN(i);
}

static void case_tick(int argc, char **argv)
{
	struct timespec step = {0, 5000000};
	long cnt = (argc > 0 ? atol(argv[0]) : 500) / 5;

	for (long i = 0; i < cnt; i++) {
		p_tick(i);
		nanosleep(&step, NULL);
	}
}

static const struct truth_case cases[] = {{"dlopen", case_dlopen},
					  {"dlopen_hold", case_dlopen_hold},
					  {"dlopen_fork", case_dlopen_fork},
					  {"tick", case_tick},
					  {NULL, NULL}};

int main(int argc, char **argv)
{
	return truth_main(argc, argv, cases);
}
