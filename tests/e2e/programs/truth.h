/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRUTH_H
#define TRUTH_H

/* What really happened, told by the program itself. Every probed function of a ground-truth program says when it
 * begins and how it ends; one line per event goes to a file with one write(2):
 *   E id parent jumped pid tid monotonic_ns function
 *                      a call began; parent 0: none is open on this stack. jumped != 0: what runs here was entered by
 *                      a jump that ended the call `jumped`; who sees only returns may take that for the parent
 *   L id pid tid monotonic_ns how
 *                      it ended: return, tail, jump, longjmp, exception, forced
 *   X pid tid monotonic_ns
 *                      a new image began in this process: what executed programs write first
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
/* The call is about to jump into a function that logs: it goes on there and ends with it ("tail"). */
void truth_tail(long id);
/* It is about to jump where nobody can tell: it ends here ("jump"). If the code it jumps to does not log itself
 * (target_logs 0), that says truth_jumped_end() at its end. */
void truth_jump(long id, int target_logs);
void truth_jumped_end(void);
/* Calls above `id` on this stack are gone (jumped or thrown over); id 0: all. */
void truth_unwind(long id, const char *how);
long truth_top(void);

/* Coroutines: which stack of calls this thread is on. NULL: the thread's own. */
#define TRUTH_MAX_DEPTH 2048
struct truth_stack {
	int depth;
	struct {
		long id;
		char jumped;  /* 0; 'T': truth_tail(), 'J': truth_jump() */
		char target;  /* jumped: what is entered next is where it jumped to; otherwise: this was jumped to */
		char arrived; /* jumped: it had been jumped to itself */
	} calls[TRUTH_MAX_DEPTH];
};
void truth_switch(struct truth_stack *stack);

/* Sets TRUTH_NEXT for an image that is about to be executed, so that its ids differ from ours. */
void truth_before_exec(void);
const char *truth_log_path(void);

#define ENTER(name) long truth_id = truth_enter(name)
/* The barrier keeps the log call from becoming the function's end by a tail jump. */
#define LEAVE()                                    \
	do {                                       \
		truth_leave(truth_id, "return");   \
		__asm__ volatile("" ::: "memory"); \
	} while (0)
#define RETURN(value)                                    \
	do {                                             \
		__typeof__(value) truth_value = (value); \
		LEAVE();                                 \
		return truth_value;                      \
	} while (0)

#ifdef __cplusplus
}
#endif
#endif
