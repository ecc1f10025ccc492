/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXPORT_EXPORTER_H
#define EXPORT_EXPORTER_H

#include "base/sbuf.h"
#include "trace/span.h"

/* Where finished chunks go. An exporter is one file export/<name>.c that defines `const struct exporter_ops
 * <name>_exporter` and one line in exporters.def. Between export_queue_start() and export_queue_stop() all hooks run on
 * the exporter thread alone, and none may block for longer than a tick. */

struct exporter; /* each exporter's file has its own */
struct pollfd;

#define EXPORT_TICK_NS (200 * 1000000ULL)

/* What became of the spans an exporter was given. given = exported + dropped + backpressure + held, at any time. */
struct exporter_stats {
	uint64_t exported;
	uint64_t dropped;      /* export_failed */
	uint64_t backpressure; /* agent_backpressure: dropped because the receiver is slower than the spans come */
	uint64_t held;	       /* accepted, not yet sent or given up */
	uint64_t requests, errors, bytes;
};

struct exporter_ops {
	const char *name; /* as in --export name[:argument] */
	const char *help; /* one line */
	/* `argument` is the text after "name:", or NULL. 0 or -errno with a sentence in err. */
	int (*open)(struct exporter **ret, const char *argument, struct sbuf *err);
	/* How to tell a person of a change of state (receiver absent, receiver back, output full): one line, no
	 * newline. Called once, before the first write(). NULL: this exporter has nothing to say. */
	void (*set_notice)(struct exporter *e, void (*notice)(void *arg, const char *line), void *arg);
	/* Consumes (encodes, prints) the chunks of the list; it does not own them and keeps no pointer into them.
	 * -EAGAIN: none of them was taken, try later (the queue holds on to them, for a second). Otherwise all were
	 * taken: what could not be accepted is in stats.dropped already. */
	int (*write)(struct exporter *e, const struct chunk *chunks);
	/* Called at least every EXPORT_TICK_NS, after each write() and when one of its descriptors is ready or its
	 * due time has come: send what is due. Returns 0. NULL: nothing to do. */
	int (*tick)(struct exporter *e, uint64_t now_ns);
	/* Fills in up to `cap` descriptors that tick() waits for and returns how many; *ret_due_ns, UINT64_MAX at the
	 * call, is lowered to when tick() wants to be called in any case (monotonic). NULL: the tick is enough. */
	unsigned (*pollfds)(const struct exporter *e, struct pollfd *fds, unsigned cap, uint64_t *ret_due_ns);
	/* Send what is held now, not when it is due. NULL: nothing is held back. */
	void (*hasten)(struct exporter *e);
	/* Sends everything held, giving up at `deadline_ns` (monotonic): what is left then counts as dropped. */
	void (*flush)(struct exporter *e, uint64_t deadline_ns);
	void (*stats)(const struct exporter *e, struct exporter_stats *ret);
	/* Appends one line of state for people ("connected to ...", or what failed, and what to do). NULL: nothing to
	 * say. */
	void (*describe)(const struct exporter *e, struct sbuf *out);
	void (*close)(struct exporter *e);
};

extern const struct exporter_ops *const exporter_registry[];
extern const unsigned exporter_registry_cnt;
/* NULL when there is none of that name. */
const struct exporter_ops *exporter_find(struct sv name);

/* The bounded queue between the consumer thread (push) and the exporter thread (its own). The exporter thread is woken
 * when the queue was empty and it slept, or when a quarter of the queue is full; else it looks by itself every 10 ms.
 */
struct export_queue;
struct export_queue_options {
	uint32_t max_spans;	 /* waiting; beyond: dropped{queue_full}, whole chunks */
	struct chunk_pool *pool; /* chunks go back here when every exporter has written them */
	/* One line about a change of state that a person should see (agent absent, agent back); any thread. */
	void (*notice)(void *arg, const char *line);
	void *notice_arg;
};
struct export_sink {
	const struct exporter_ops *ops;
	struct exporter *exporter;
};
/* Takes ownership of the opened exporters (also on failure, which closes them), starts the thread. */
int export_queue_start(struct export_queue **ret, const struct export_sink *sinks, unsigned sink_cnt,
		       const struct export_queue_options *options, struct sbuf *err);
/* Takes ownership of the chunk. Never blocks. False: the queue was full and the chunk was dropped (and counted). */
bool export_queue_push(struct export_queue *q, struct chunk *chunk);
/* pushed = exported + export_failed + backpressure + held, at any moment. */
struct export_queue_stats {
	uint64_t pushed;	/* spans taken in: those of queue_full are not among them */
	uint64_t exported;	/* spans that the first exporter (the one the identity is about) delivered */
	uint64_t queue_full;	/* spans dropped at the door */
	uint64_t export_failed; /* spans the first exporter gave up */
	uint64_t backpressure;	/* spans the first exporter dropped because they waited too long for the receiver */
	uint64_t held;		/* spans waiting anywhere */
};
void export_queue_stats(struct export_queue *q, struct export_queue_stats *ret);
/* The state of exporter `i` (as given to start) as of its last tick; -EINVAL when there is none. Either may be NULL. */
int export_queue_sink(struct export_queue *q, unsigned i, struct exporter_stats *ret, struct sbuf *describe);
/* The number of spans it takes. Any thread. */
uint32_t export_queue_max(struct export_queue *q);
void export_queue_set_max(struct export_queue *q, uint32_t max_spans);
/* Asks the exporter thread to send all it holds now instead of when it is due. Any thread. */
void export_queue_flush(struct export_queue *q);
/* Idempotent. Flushes within `timeout_ns`, joins the thread, closes the exporters; stats remain readable until free. */
void export_queue_stop(struct export_queue *q, uint64_t timeout_ns);
void export_queue_free(struct export_queue *q);

#endif
