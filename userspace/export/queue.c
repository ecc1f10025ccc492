/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "base/clock.h"
#include "base/cleanup.h"
#include "base/confine.h"
#include "base/pace.h"
#include "base/priority.h"
#include "export/exporter.h"
#include "trace/assembly.h"

#define QUEUE_MAX_SINKS	  8
#define QUEUE_SINK_FDS	  16
#define QUEUE_BATCH_SPANS 4096			 /* written between two ticks */
#define QUEUE_NAP_NS	  (5 * NSEC_PER_MSEC)	 /* while an exporter cannot take more */
#define QUEUE_STALL_NS	  (1000 * NSEC_PER_MSEC) /* of -EAGAIN, then the batch is given up for that exporter */

struct sink {
	const struct exporter_ops *ops;
	struct exporter *exporter;
	bool behind; /* has not taken the batch in hand yet */
	uint64_t behind_since_ns;
	uint64_t given_up; /* spans it never took */
	/* As of the last look; under the lock. */
	struct exporter_stats stats;
	struct sbuf describe;
};

struct export_queue {
	struct export_queue_options options;
	pthread_t thread;
	bool joined;
	int wake_fd;
	struct sink sinks[QUEUE_MAX_SINKS];
	unsigned sink_cnt;
	/* In the exporter thread's hands: what it took off the list, and the part of it that is being written. */
	struct chunk *taken, *batch;
	uint64_t taken_spans, batch_spans;

	pthread_mutex_t lock;
	struct chunk *first, *last;
	uint64_t waiting; /* spans of the list */
	uint64_t in_hand; /* spans taken and of the batch: they take room too */
	bool asleep;	  /* the thread is in poll() and wants to be woken for the first chunk */
	bool stopping;
	bool hasten; /* asked for */
	uint64_t deadline_ns;
	uint64_t pushed, queue_full;
	uint64_t exported, failed, backpressure; /* of the first exporter, as of the last look */
};

static void queue_wake(struct export_queue *q)
{
	uint64_t one = 1;
	ssize_t n = write(q->wake_fd, &one, sizeof(one));
	(void)n; /* full means that it is awake already */
}

/* --- the consumer's side ------------------------------------------------------------------------------------------ */

bool export_queue_push(struct export_queue *q, struct chunk *chunk)
{
	uint64_t cnt = chunk->span_cnt, mark = q->options.max_spans / 4;
	chunk->next = NULL;
	pthread_mutex_lock(&q->lock);
	uint64_t before = q->waiting + q->in_hand;
	/* One chunk larger than the whole queue still passes, alone. */
	bool room = !q->stopping && (before == 0 || before + cnt <= q->options.max_spans);
	bool wake = false;
	if (room) {
		wake = q->asleep || (before < mark && before + cnt >= mark);
		q->asleep = false;
		if (q->first)
			q->last->next = chunk;
		else
			q->first = chunk;
		q->last = chunk;
		q->waiting += cnt;
		q->pushed += cnt;
	} else {
		q->queue_full += cnt;
	}
	pthread_mutex_unlock(&q->lock);
	if (wake)
		queue_wake(q);
	if (!room)
		chunk_pool_put(q->options.pool, chunk);
	return room;
}

void export_queue_stats(struct export_queue *q, struct export_queue_stats *ret)
{
	pthread_mutex_lock(&q->lock);
	*ret = (struct export_queue_stats){.pushed = q->pushed,
					   .exported = q->exported,
					   .queue_full = q->queue_full,
					   .export_failed = q->failed,
					   .backpressure = q->backpressure,
					   .held = q->pushed - q->exported - q->failed - q->backpressure};
	pthread_mutex_unlock(&q->lock);
}

int export_queue_sink(struct export_queue *q, unsigned i, struct exporter_stats *ret, struct sbuf *describe)
{
	if (i >= q->sink_cnt)
		return -EINVAL;
	struct sink *s = &q->sinks[i];
	pthread_mutex_lock(&q->lock);
	if (ret)
		*ret = s->stats;
	if (describe)
		sbuf_addsv(describe, sbuf_sv(&s->describe));
	pthread_mutex_unlock(&q->lock);
	return 0;
}

/* --- the exporter thread ------------------------------------------------------------------------------------------ */

/* The next batch, or none. Chunks are cold memory: they are counted off outside the lock, which the consumer wants. */
static void queue_take(struct export_queue *q)
{
	if (!q->taken) {
		pthread_mutex_lock(&q->lock);
		q->taken = q->first;
		q->taken_spans = q->in_hand = q->waiting;
		q->first = NULL;
		q->waiting = 0;
		pthread_mutex_unlock(&q->lock);
	}
	struct chunk *first = q->taken, *last = NULL;
	uint64_t cnt = 0;
	for (struct chunk *c = first; c && (cnt == 0 || cnt + c->span_cnt <= QUEUE_BATCH_SPANS); c = c->next) {
		cnt += c->span_cnt;
		last = c;
	}
	if (last) {
		q->taken = last->next;
		last->next = NULL;
		q->taken_spans -= cnt;
	}
	q->batch = first;
	q->batch_spans = cnt;
	for (unsigned i = 0; i < q->sink_cnt; i++) {
		q->sinks[i].behind = first != NULL;
		q->sinks[i].behind_since_ns = 0;
	}
}

static void queue_give_back(struct export_queue *q)
{
	while (q->batch) {
		struct chunk *next = q->batch->next;
		chunk_pool_put(q->options.pool, q->batch);
		q->batch = next;
	}
}

/* Offers the batch to those who have not taken it yet; true when it is done with. */
static bool queue_write(struct export_queue *q, bool give_up)
{
	bool done = true;
	uint64_t now = clock_mono_ns();
	for (unsigned i = 0; i < q->sink_cnt; i++) {
		struct sink *s = &q->sinks[i];
		if (!s->behind)
			continue;
		if (s->ops->write(s->exporter, q->batch) != -EAGAIN) {
			s->behind = false;
			continue;
		}
		if (!s->behind_since_ns)
			s->behind_since_ns = now;
		if (give_up || now - s->behind_since_ns > QUEUE_STALL_NS) {
			s->given_up += q->batch_spans;
			s->behind = false;
			continue;
		}
		done = false;
	}
	if (done)
		queue_give_back(q);
	return done;
}

static void queue_look(struct export_queue *q)
{
	struct exporter_stats stats[QUEUE_MAX_SINKS] = {0};
	for (unsigned i = 0; i < q->sink_cnt; i++) {
		q->sinks[i].ops->stats(q->sinks[i].exporter, &stats[i]);
		stats[i].dropped += q->sinks[i].given_up;
	}
	pthread_mutex_lock(&q->lock);
	for (unsigned i = 0; i < q->sink_cnt; i++) {
		struct sink *s = &q->sinks[i];
		s->stats = stats[i];
		sbuf_reset(&s->describe);
		if (s->ops->describe)
			s->ops->describe(s->exporter, &s->describe);
	}
	q->exported = stats[0].exported;
	q->failed = stats[0].dropped;
	q->backpressure = stats[0].backpressure;
	q->in_hand = q->taken_spans + (q->batch ? q->batch_spans : 0);
	pthread_mutex_unlock(&q->lock);
}

static void queue_tick(struct export_queue *q)
{
	uint64_t now = clock_mono_ns();
	for (unsigned i = 0; i < q->sink_cnt; i++)
		if (q->sinks[i].ops->tick)
			q->sinks[i].ops->tick(q->sinks[i].exporter, now);
	queue_look(q);
}

/* Sleeps until something can be done, but not beyond `max_ns`. */
static void queue_sleep(struct export_queue *q, uint64_t max_ns)
{
	struct pollfd fds[1 + QUEUE_MAX_SINKS * QUEUE_SINK_FDS] = {{.fd = q->wake_fd, .events = POLLIN}};
	nfds_t cnt = 1;
	uint64_t due = UINT64_MAX;
	for (unsigned i = 0; i < q->sink_cnt; i++)
		if (q->sinks[i].ops->pollfds)
			cnt += q->sinks[i].ops->pollfds(q->sinks[i].exporter, fds + cnt, QUEUE_SINK_FDS, &due);
	uint64_t now = clock_mono_ns();
	uint64_t left = due > now ? due - now : 0;
	if (left > max_ns)
		left = max_ns;
	struct timespec ts = {(time_t)(left / NSEC_PER_SEC), (long)(left % NSEC_PER_SEC)};
	ppoll(fds, cnt, &ts, NULL);
	uint64_t drained;
	if (fds[0].revents & POLLIN) {
		ssize_t n = read(q->wake_fd, &drained, sizeof(drained));
		(void)n;
	}
}

/* True when the thread may sleep soundly: nothing waits, and a push will wake it. */
static bool queue_may_sleep(struct export_queue *q)
{
	pthread_mutex_lock(&q->lock);
	bool may = !q->first && !q->taken && !q->stopping;
	q->asleep = may;
	pthread_mutex_unlock(&q->lock);
	return may;
}

static bool queue_stopping(struct export_queue *q, uint64_t *ret_deadline_ns)
{
	pthread_mutex_lock(&q->lock);
	bool stopping = q->stopping;
	*ret_deadline_ns = q->deadline_ns;
	pthread_mutex_unlock(&q->lock);
	return stopping;
}

/* What still waits is written, then every exporter flushes, each within its share of what time is left. */
static void queue_finish(struct export_queue *q, uint64_t deadline_ns)
{
	for (;;) {
		if (!q->batch)
			queue_take(q);
		if (!q->batch)
			break;
		if (!queue_write(q, clock_mono_ns() >= deadline_ns))
			queue_sleep(q, QUEUE_NAP_NS);
		queue_tick(q);
	}
	for (unsigned i = 0; i < q->sink_cnt; i++) {
		struct sink *s = &q->sinks[i];
		uint64_t now = clock_mono_ns(), left = deadline_ns > now ? deadline_ns - now : 0;
		if (s->ops->flush)
			s->ops->flush(s->exporter, now + left / (q->sink_cnt - i));
	}
	queue_look(q);
}

/* Only when nothing waits to be written: what is sent is everything. */
static void queue_hasten(struct export_queue *q)
{
	pthread_mutex_lock(&q->lock);
	bool asked = q->hasten && !q->first && !q->taken;
	q->hasten = q->hasten && !asked;
	pthread_mutex_unlock(&q->lock);
	for (unsigned i = 0; asked && i < q->sink_cnt; i++)
		if (q->sinks[i].ops->hasten)
			q->sinks[i].ops->hasten(q->sinks[i].exporter);
	if (asked)
		queue_tick(q);
}

uint32_t export_queue_max(struct export_queue *q)
{
	return q->options.max_spans;
}

void export_queue_set_max(struct export_queue *q, uint32_t max_spans)
{
	pthread_mutex_lock(&q->lock);
	q->options.max_spans = max_spans;
	pthread_mutex_unlock(&q->lock);
}

void export_queue_flush(struct export_queue *q)
{
	pthread_mutex_lock(&q->lock);
	q->hasten = true;
	pthread_mutex_unlock(&q->lock);
	queue_wake(q);
}

static void *queue_run(void *arg)
{
	struct export_queue *q = arg;
	uint64_t deadline_ns;
	bool busy = false;
	struct pace pace = {0};
	uint64_t awake_ns = clock_mono_ns();
	priority_give_way(); /* if it can be */
	confine_worker("export");
	while (!queue_stopping(q, &deadline_ns)) {
		if (!q->batch)
			queue_take(q);
		bool had = q->batch != NULL;
		bool done = !had || queue_write(q, false);
		queue_tick(q);
		/* After work comes a nap that pushes do not disturb: waking a thread costs the pusher microseconds. */
		if (had && done) {
			busy = true;
			continue;
		}
		queue_hasten(q);
		if (!done || busy)
			queue_sleep(q, done ? pace_sleep_ns(&pace, awake_ns, clock_mono_ns()) : QUEUE_NAP_NS);
		else if (queue_may_sleep(q)) {
			chunk_pool_trim(q->options.pool);
			queue_sleep(q, EXPORT_TICK_NS);
		}
		busy = false;
		awake_ns = clock_mono_ns();
	}
	queue_finish(q, deadline_ns);
	return NULL;
}

/* --- its life ----------------------------------------------------------------------------------------------------- */

static void sinks_close(const struct sink *sinks, unsigned cnt)
{
	for (unsigned i = 0; i < cnt; i++)
		sinks[i].ops->close(sinks[i].exporter);
}

/* The thread takes no signals: they are for main(), and a closed pipe is an error code here, not a death. */
static int queue_start_thread(struct export_queue *q)
{
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int err = pthread_create(&q->thread, NULL, queue_run, q);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!err)
		pthread_setname_np(q->thread, "export");
	return -err;
}

int export_queue_start(struct export_queue **ret, const struct export_sink *sinks, unsigned sink_cnt,
		       const struct export_queue_options *options, struct sbuf *err)
{
	__cleanup(freep) struct export_queue *q = calloc(1, sizeof(*q));
	struct sink taken[QUEUE_MAX_SINKS] = {0};
	unsigned cnt = sink_cnt < QUEUE_MAX_SINKS ? sink_cnt : QUEUE_MAX_SINKS;
	for (unsigned i = 0; i < cnt; i++)
		taken[i] = (struct sink){.ops = sinks[i].ops, .exporter = sinks[i].exporter};
	int wake_fd = q && sink_cnt == cnt && cnt ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
	if (wake_fd < 0) {
		sbuf_addf(err, "the export queue cannot start with %u exporters (at most %d)", sink_cnt,
			  QUEUE_MAX_SINKS);
		sinks_close(taken, cnt);
		for (unsigned i = cnt; i < sink_cnt; i++)
			sinks[i].ops->close(sinks[i].exporter);
		return q ? -EINVAL : -ENOMEM;
	}
	q->options = *options;
	q->wake_fd = wake_fd;
	q->sink_cnt = cnt;
	memcpy(q->sinks, taken, sizeof(taken));
	pthread_mutex_init(&q->lock, NULL);
	for (unsigned i = 0; i < cnt && options->notice; i++)
		if (taken[i].ops->set_notice)
			taken[i].ops->set_notice(taken[i].exporter, options->notice, options->notice_arg);
	int r = queue_start_thread(q);
	if (r < 0) {
		sbuf_addf(err, "the exporter thread cannot start: %s", strerror(-r));
		sinks_close(taken, cnt);
		close(wake_fd);
		return r;
	}
	*ret = move_ptr(q);
	return 0;
}

void export_queue_stop(struct export_queue *q, uint64_t timeout_ns)
{
	if (!q || q->joined)
		return;
	pthread_mutex_lock(&q->lock);
	q->stopping = true;
	q->deadline_ns = clock_mono_ns() + timeout_ns;
	pthread_mutex_unlock(&q->lock);
	queue_wake(q);
	pthread_join(q->thread, NULL);
	q->joined = true;
	sinks_close(q->sinks, q->sink_cnt);
}

void export_queue_free(struct export_queue *q)
{
	if (!q)
		return;
	export_queue_stop(q, 0);
	for (unsigned i = 0; i < q->sink_cnt; i++)
		sbuf_release(&q->sinks[i].describe);
	close(q->wake_fd);
	pthread_mutex_destroy(&q->lock);
	free(q);
}
