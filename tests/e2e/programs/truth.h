/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRUTH_H
#define TRUTH_H

/* What really happened, told by the program itself. Every probed function of a ground-truth program says when it
 * begins and how it ends; one line per event goes to a file with one write(2):
 *   E id parent pid tid monotonic_ns function        a call began; parent 0: none is open on this stack
 *   L id pid tid monotonic_ns how                    it ended: return, tail, longjmp, exception, forced
 * A call without an L line was open when its thread or process ended. An L line by another pid than the E line's
 * is a forked child that returns through a frame it inherited.
 *
 * Command line of every such program: PROGRAM LOG CASE [ARGUMENT...]. It prints "pid N", waits for a line on stdin,
 * runs the case, prints "done" and exits 0. */

#ifdef __cplusplus
extern "C" {
#endif

/* A probed function: a real call of a real function, with its own frame. */
#if defined(__clang__)
#define PROBED __attribute__((noinline, used))
#else
#define PROBED __attribute__((noinline, noipa, used))
#endif

struct truth_case {
	const char *name;
	void (*run)(int argc, char **argv); /* argv[0] is the first argument after the case's name */
};

/* main() of every program; `cases` ends with a NULL name. */
int truth_main(int argc, char **argv, const struct truth_case *cases);

long truth_enter(const char *function); /* the call's id */
void truth_leave(long id, const char *how);
/* Calls above `id` on this stack are gone (jumped or thrown over); id 0: all. */
void truth_unwind(long id, const char *how);
long truth_top(void);

/* Coroutines: which stack of calls this thread is on. NULL: the thread's own. */
#define TRUTH_MAX_DEPTH 2048
struct truth_stack {
	int depth;
	long ids[TRUTH_MAX_DEPTH];
};
void truth_switch(struct truth_stack *stack);

/* Sets TRUTH_NEXT for an image that is about to be executed, so that its ids differ from ours. */
void truth_before_exec(void);
const char *truth_log_path(void);

#define ENTER(name) long truth_id = truth_enter(name)
#define LEAVE()     truth_leave(truth_id, "return")
#define RETURN(value)                                                                                                  \
	do {                                                                                                           \
		__typeof__(value) truth_value = (value);                                                              \
		LEAVE();                                                                                               \
		return truth_value;                                                                                    \
	} while (0)

#ifdef __cplusplus
}
#endif
#endif
