/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KERNEL_KERNEL_H
#define KERNEL_KERNEL_H

#include <sys/types.h>

#include "base/sbuf.h"
#include "kernel/contexts.h"
#include "kernel/inject.h"
#include "kernel/links.h"
#include "kernel/ring.h"
#include "spanhound/context.h"
#include "spanhound/exclude.h"
#include "spanhound/sampling.h"
#include "spanhound/spec.h"

/* The kernel half as an object: open and load its programs, fill its maps, attach its probes, read what it left.
 * One thread calls the functions here; ring_set is for the consumer thread. Releasing it, or dying, detaches
 * everything. */
struct kernel;

struct kernel_options {
	enum link_kind link;
	bool sleepable;		/* load the variants that may wait for a page of the target */
	uint32_t max_functions; /* indexes of functions are below this */
	uint32_t max_specs;	/* at most 65536 */
	bool specs;		/* some spec asks for more than to record each call */
	bool captures;		/* some spec records values */
	bool handoffs;		/* the probe list declares some */
	bool sockets;		/* follow the sockets of chosen processes */
	bool inject;		/* and put trace context into their requests, where that can be done: kernel_inject() */
	bool inject_verdict;	/* in that mode, too */
	/* Asked what works here, says whether it is of use to somebody; NULL: it is. */
	bool (*inject_useful)(void *arg, const struct inject_status *s);
	void *arg;
	bool option;	  /* and TCP options beside them: kernel_option() */
	uint32_t head;	  /* bytes copied of each message on them; 0: SH_HEAD_DEFAULT */
	dev_t pid_ns_dev; /* of /proc/1/ns/pid below the /proc that names processes */
	ino_t pid_ns_ino; /* 0: the initial PID namespace */
	size_t ring_size; /* bytes for all CPUs together; 0: default */
};

int kernel_open(struct kernel **ret, const struct kernel_options *options, struct sbuf *err);
void kernel_close(struct kernel *k); /* NULL is fine */

struct ring_set *kernel_rings(struct kernel *k);
/* Memory shared with the kernel half: settings we write, counters it does. */
struct sh_shared *kernel_shared(struct kernel *k);
/* The entry of function `index`, memory shared with the kernel half; NULL beyond max_functions. */
struct sh_func *kernel_function(struct kernel *k, uint32_t index);
int kernel_set_spec(struct kernel *k, uint32_t index, const struct sh_spec *spec);

/* How far injection works here; options.inject was no more than a wish. */
const struct inject_status *kernel_inject(const struct kernel *k);
/* What traces are kept, by sh_process.rates, as far as it is decided in the kernel half: SH_MAX_RATES of them, memory shared
 * with it. NULL: nobody decides there. */
struct sh_rates *kernel_rates(struct kernel *k);
/* For kernel/enrol.c: descriptors of the maps, and the program that walks over sockets; NULL where it has no use. */
struct inject_maps {
	int plain, wanted;
	struct bpf_program *older;
};
struct inject_maps kernel_inject_maps(const struct kernel *k);
/* Pattern `index` of sh_process.excludes. Before any process has its bit. */
int kernel_set_exclude(struct kernel *k, uint32_t index, const struct sh_exclude *x);
/* Takes out the sockets that are to leave. Any thread; cheap when there are none. */
void kernel_inject_pass(struct kernel *k);
/* After kernel_quiesce(): connections with a verdict program that could not be taken out before the end, since what they had
 * received was not read (or they are another network namespace's): that is lost to their programs. */
uint32_t kernel_inject_unread(const struct kernel *k);

/* Whether TCP options are written and heard (bpf/option.bpf.c). */
struct option_status {
	bool on;
	char why_not[WHY_NOT_SZ]; /* if not on */
};
const struct option_status *kernel_option(const struct kernel *k);
/* Would they be? Tried with a program that does nothing, on the connections of the host, for a moment. */
void kernel_option_probe(struct option_status *ret);
/* Connections to this port, of the network namespace with that inode number, are a chosen process's: what comes on them is heard. What
 * it listens on from here on the kernel half sees. */
int kernel_option_port(struct kernel *k, ino_t netns, uint16_t port);

/* fork, exec and exit of the host. Before any process is chosen. */
int kernel_attach_process_events(struct kernel *k, struct sbuf *err);
/* The sockets of chosen processes; `wanted` false: of none, and the host's system calls run without us. */
int kernel_watch_sockets(struct kernel *k, bool wanted, struct sbuf *err);
int kernel_choose_process(struct kernel *k, uint32_t tgid, struct sh_process as);
int kernel_release_process(struct kernel *k, uint32_t tgid);
/* What it was seen to do since it was chosen; all zero: it is not. */
struct sh_watched kernel_watched(const struct kernel *k, uint32_t tgid);

/* Every process that executes this file from now on is chosen before its first instruction. */
int kernel_choose_image(struct kernel *k, dev_t dev, ino_t ino, struct sh_process as);

/* Not this file any more; no file any more. */
void kernel_forget_image(struct kernel *k, dev_t dev, ino_t ino);
void kernel_forget_images(struct kernel *k);

/* The next exec of this process stops it (SIGSTOP) before its first instruction: for a child of ours that is to be
 * traced from there on. 0: none. */
void kernel_stop_at_exec(struct kernel *k, uint32_t tgid);

/* What a probe site runs. */
enum kernel_hook {
	HOOK_CALL_ENTRY, /* entry; with LINK_SESSION and HOOK_CALL_RETURN in one, see kernel_attach() */
	HOOK_CALL_RETURN,
	HOOK_CALL_SESSION,
	HOOK_CALL_END,
	HOOK_STACK_SWITCH,
	HOOK_LONGJMP,
	HOOK_THROW,
	HOOK_RAISE,
	HOOK_LAND,
	HOOK_CATCH,
	HOOK_MAP,
	HOOK_HANDOFF_GIVE, /* cookie: argument with the value, 0: the return value (at an end of the function) */
	HOOK_HANDOFF_TAKE,
	HOOK_GOROUTINE_GIVE, /* Go's HTTP client: see bpf/golang.bpf.c */
	HOOK_GOROUTINE_TAKE,
	KERNEL_HOOKS,
};

/* Attached sites: one uprobe_multi link, or as many perf links. */
struct kernel_attachment;
/* `sleepable` is ignored where the kernel has no such link. */
int kernel_attach(struct kernel *k, enum kernel_hook hook, bool sleepable, const struct link_sites *sites,
		  struct kernel_attachment **ret, struct sbuf *err);
void kernel_detach(struct kernel_attachment *a); /* NULL is fine */
/* The same, on threads of its own: removing a link waits some 50 ms for a grace period of the kernel, which several
 * links removed at a time share. NULL is fine. */
void kernel_detach_later(struct kernel *k, struct kernel_attachment *a);
/* Some of that is not done yet. */
bool kernel_detaching(struct kernel *k);
/* Waits for all that was to be detached later. */
void kernel_detach_finish(struct kernel *k);

/* A muted function's calls are not seen from now on; those that are open end as usual. To be done some time before its
 * probes are detached, and undone before they are attached again. */
void kernel_mute(struct kernel *k, uint32_t index, bool muted);

/* Before the first kernel_detach() of the end: calls that begin from now on are not seen, those that are open go on to
 * their ends. A call whose entry is seen when its end is detached already would look as if it never ended. */
void kernel_wind_up(struct kernel *k);

/* Ends the watch over processes and waits until no program of ours runs any more. After every kernel_detach(). */
void kernel_quiesce(struct kernel *k);

/* Calls that are open now, as the records they would become if their threads ended; and counts seen so far.
 * Exact only once every probe is detached. Returns the sum of calls seen. */
/* Calls and requests seen so far. */
uint64_t kernel_seen(struct kernel *k);
uint64_t kernel_contexts(struct kernel *k, void (*fn)(void *arg, const struct sh_ev_hdr *record), void *arg);
/* For contexts_of_threads() and its like. */
void kernel_context_maps(const struct kernel *k, struct context_maps *ret);
/* Runs of our programs that the kernel skipped because one was already running on that CPU. */
uint64_t kernel_missed(struct kernel *k);

#endif
