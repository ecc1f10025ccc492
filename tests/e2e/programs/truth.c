/* SPDX-License-Identifier: Apache-2.0 */
#include "truth.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int log_fd = -1;
static const char *log_path;
static long *next_id; /* shared with forked children */
static __thread struct truth_stack own_stack;
static __thread struct truth_stack *current;

static struct truth_stack *stack_now(void)
{
	return current ? current : &own_stack;
}

static unsigned long long now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

static void emit(const char *line, int len)
{
	if (write(log_fd, line, len) != len)
		abort();
}

static void left(long id, const char *how)
{
	char line[256];

	emit(line, snprintf(line, sizeof(line), "L %ld %d %ld %llu %s\n", id, (int)syscall(SYS_getpid),
			    syscall(SYS_gettid), now_ns(), how));
}

/* A mistake in the program itself must not pass for one in the tracer. */
static void expect_innermost(const struct truth_stack *s, long id)
{
	if (s->depth && s->calls[s->depth - 1].id == id)
		return;
	fprintf(stderr, "truth: call %ld ends but is not the innermost\n", id);
	abort();
}

long truth_top(void)
{
	struct truth_stack *s = stack_now();
	int i = s->depth;

	while (i && s->calls[i - 1].jumped == 'J')
		i--;
	return i ? s->calls[i - 1].id : 0;
}

long truth_enter(const char *function)
{
	struct truth_stack *s = stack_now();
	long parent = truth_top();
	long top = s->depth ? s->calls[s->depth - 1].id : 0;
	long id = __atomic_add_fetch(next_id, 1, __ATOMIC_RELAXED);
	char line[512];

	if (s->depth == TRUTH_MAX_DEPTH)
		abort();
	s->calls[s->depth].target = s->depth && s->calls[s->depth - 1].jumped && s->calls[s->depth - 1].target;
	s->calls[s->depth].jumped = 0;
	s->calls[s->depth++].id = id;
	emit(line, snprintf(line, sizeof(line), "E %ld %ld %ld %d %ld %llu %s\n", id, parent, top == parent ? 0 : top,
			    (int)syscall(SYS_getpid), syscall(SYS_gettid), now_ns(), function));
	return id;
}

/* Those that jumped to what just ended. */
static void end_jumped(struct truth_stack *s)
{
	int more = 1;

	while (more && s->depth && s->calls[s->depth - 1].jumped) {
		s->depth--;
		if (s->calls[s->depth].jumped == 'T')
			left(s->calls[s->depth].id, "tail");
		more = s->calls[s->depth].arrived;
	}
}

void truth_leave(long id, const char *how)
{
	struct truth_stack *s = stack_now();

	expect_innermost(s, id);
	s->depth--;
	left(id, how);
	if (s->calls[s->depth].target)
		end_jumped(s);
}

void truth_tail(long id)
{
	struct truth_stack *s = stack_now();

	expect_innermost(s, id);
	s->calls[s->depth - 1].arrived = s->calls[s->depth - 1].target;
	s->calls[s->depth - 1].jumped = 'T';
	s->calls[s->depth - 1].target = 1;
}

void truth_jump(long id, int target_logs)
{
	struct truth_stack *s = stack_now();

	expect_innermost(s, id);
	s->calls[s->depth - 1].arrived = s->calls[s->depth - 1].target;
	s->calls[s->depth - 1].jumped = 'J';
	s->calls[s->depth - 1].target = (char)target_logs;
	left(id, "jump");
}

void truth_jumped_end(void)
{
	end_jumped(stack_now());
}

void truth_unwind(long id, const char *how)
{
	struct truth_stack *s = stack_now();

	while (s->depth && s->calls[s->depth - 1].id != id)
		if (s->calls[--s->depth].jumped != 'J')
			left(s->calls[s->depth].id, how);
}

void truth_switch(struct truth_stack *stack)
{
	current = stack;
}

void truth_before_exec(void)
{
	char next[32];

	/* The ids in between are the new image's. */
	snprintf(next, sizeof(next), "%ld", __atomic_fetch_add(next_id, 1000000, __ATOMIC_RELAXED));
	setenv("TRUTH_NEXT", next, 1);
}

const char *truth_log_path(void)
{
	return log_path;
}

static void usage(const char *program, const struct truth_case *cases)
{
	fprintf(stderr, "usage: %s LOG CASE [ARGUMENT...]\ncases:", program);
	for (; cases->name; cases++)
		fprintf(stderr, " %s", cases->name);
	fputc('\n', stderr);
	exit(2);
}

/* TRUTH_NOWAIT: an executed image that nobody talks to. */
static void wait_for_go(void)
{
	char c = 0, line[128];

	if (getenv("TRUTH_NOWAIT")) {
		emit(line, snprintf(line, sizeof(line), "X %d %ld %llu\n", getpid(), syscall(SYS_gettid), now_ns()));
		return;
	}
	printf("pid %d\n", getpid());
	fflush(stdout);
	while (c != '\n')
		if (read(0, &c, 1) != 1)
			exit(3);
}

int truth_main(int argc, char **argv, const struct truth_case *cases)
{
	const struct truth_case *c = cases;
	const char *next = getenv("TRUTH_NEXT");

	if (argc < 3)
		usage(argv[0], cases);
	while (c->name && strcmp(c->name, argv[2]))
		c++;
	if (!c->name)
		usage(argv[0], cases);
	log_path = argv[1];
	log_fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	next_id = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (log_fd < 0 || next_id == MAP_FAILED) {
		perror(log_path);
		return 2;
	}
	*next_id = next ? atol(next) : 0;
	wait_for_go();
	c->run(argc - 3, argv + 3);
	if (!getenv("TRUTH_NOWAIT"))
		puts("done");
	fflush(stdout);
	return 0;
}
