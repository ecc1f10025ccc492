/* SPDX-License-Identifier: Apache-2.0 */
/* The consumer thread: rings to spans. While records come it looks every few milliseconds by itself; after a while
 * without any it sleeps and lets the kernel half wake it, which costs the traced thread microseconds once. */
#include <errno.h>
#include <unistd.h>

#include "app/session_private.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/pace.h"
#include "base/priority.h"

#define IDLE_PASSES  20 /* without a record, before going to sleep */
#define IDLE_AFTER   18 /* of them are over after one of a process: others execute, and make no spans */
#define SLEEP_NS     (200 * NSEC_PER_MSEC) /* even asleep: chunks may be due */
#define BUSY_BACKLOG 8			   /* a ring filled to one eighth is drained again at once */

struct consumer {
	struct session *session;
	uint64_t now_ns;
	struct clock_anchor clock;
	size_t unpassed; /* records since the last whole pass */
	unsigned epoch;
	struct inquiry *inquiry; /* NULL: nobody asked */
	bool more;		 /* the last pass left records behind */
	bool working;		 /* it saw records of calls or sockets, */
	bool events;		 /* of processes */
	struct {
		unsigned moment; /* session.moment_asked */
		bool drained;	 /* no record is left of before */
		uint32_t age;	 /* of the pool, then */
	} leaving;
};

static void consumer_record(void *arg, const struct sh_ev_hdr *record)
{
	struct consumer *c = arg;
	bool event = record->kind == SH_EV_FORK || record->kind == SH_EV_EXEC || record->kind == SH_EV_EXIT;
	c->working |= !event;
	c->events |= event;
	if (c->session->recorder)
		recorder_record(c->session->recorder, record);
	flow_record(c->session->flow, record, c->now_ns);
}

static void consumer_clock(struct consumer *c)
{
	struct session *s = c->session;
	struct clock_reading now = clock_read();
	int64_t step;
	enum clock_move move = clock_anchor_update(&c->clock, &now, &step);
	if (move == CLOCK_AS_BEFORE)
		return;
	if (move == CLOCK_STEPPED)
		log_info("the wall clock went %s by %.3f s against the monotonic one: it was set, or the machine slept",
			 step < 0 ? "back" : "on", (double)(step < 0 ? -step : step) / NSEC_PER_SEC);
	int64_t offset = c->clock.unix_minus_mono_ns;
	kernel_shared(s->kernel)->unix_minus_mono_ns = (uint64_t)offset;
	flow_set_clock(s->flow, offset);
	if (s->recorder)
		recorder_clock(s->recorder, offset);
}

/* `moment`: asked for before this pass began. */
static void consumer_leave(struct consumer *c, unsigned moment, bool drained)
{
	struct session *s = c->session;
	if (c->leaving.moment == atomic_load(&s->moment_out)) {
		if (moment == c->leaving.moment)
			return;
		c->leaving.moment = moment;
		c->leaving.drained = false;
	}
	if (!c->leaving.drained && drained) {
		c->leaving.drained = true;
		c->leaving.age = chunk_pool_age(s->pool);
	}
	if (!c->leaving.drained)
		return;
	chunk_pool_turn(s->pool);
	if (chunk_pool_age(s->pool) - c->leaving.age >= 2)
		atomic_store(&s->moment_out, c->leaving.moment);
}

/* One pass; false when there was nothing. */
static bool consumer_pass(struct consumer *c)
{
	struct session *s = c->session;
	struct ring_pass pass;

	unsigned moment = atomic_load(&s->moment_asked);
	c->now_ns = clock_mono_ns();
	/* Its only writer: a store, no locked instruction. */
	atomic_store_explicit(&s->consumer_passes, atomic_load_explicit(&s->consumer_passes, memory_order_relaxed) + 1,
			      memory_order_relaxed);
	consumer_clock(c);
	if (!c->inquiry)
		c->inquiry = inquiry_take(s);
	unsigned epoch = atomic_load(&s->process_epoch);
	if (epoch != c->epoch) {
		c->epoch = epoch;
		flow_refresh(s->flow);
	}
	size_t cnt = ring_set_drain(kernel_rings(s->kernel), consumer_record, c, &pass);
	c->more = pass.more;
	c->unpassed += cnt;
	probe_metrics_tick(&s->probe_metrics, c->now_ns, false, session_statsd_port(s));
	kernel_inject_pass(s->kernel);
	pipeline_pass(s->pipeline, c->now_ns, c->clock.unix_minus_mono_ns);
	if (pass.whole) {
		flow_pass(s->flow, c->now_ns);
		if (s->recorder && c->unpassed)
			recorder_pass(s->recorder, c->now_ns);
		c->unpassed = 0;
	}
	consumer_leave(c, moment, pass.whole && !pass.more);
	if (c->inquiry && inquiry_answer(c->inquiry, s->flow, pass.whole && !pass.more, c->now_ns))
		c->inquiry = NULL;
	if (!s->options.count || s->count_reached)
		return cnt > 0;
	struct flow_stats stats;
	flow_stats(s->flow, &stats);
	if (stats.calls.spans + stats.exchanges.spans >= s->options.count) {
		uint64_t one = 1;
		s->count_reached = true;
		if (write(s->count_fd, &one, sizeof(one)) < 0)
			log_debug("cannot tell that the count is reached");
	}
	return cnt > 0;
}

static void consumer_sleep(struct session *s)
{
	volatile struct sh_shared *shared = kernel_shared(s->kernel);
	struct ring_set *rings = kernel_rings(s->kernel);
	shared->consumer_asleep = 1;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (ring_set_backlog(rings) == 0)
		ring_set_wait(rings, SLEEP_NS);
	shared->consumer_asleep = 0;
}

static void *consumer_main(void *arg)
{
	struct consumer c = {.session = arg};
	struct session *s = arg;
	struct ring_set *rings = kernel_rings(s->kernel);
	struct pace pace = {0};
	unsigned idle = 0;

	if (priority_give_way() < 0)
		log_debug("the kernel does not let the consumer ask for long time slices");
	while (!atomic_load(&s->stopping)) {
		c.working = c.events = false;
		consumer_pass(&c);
		idle = c.working ? 0 : c.events && idle > IDLE_AFTER ? IDLE_AFTER : idle + 1;
		if (c.more || ring_set_backlog(rings) > ring_set_size(rings) / BUSY_BACKLOG)
			continue;
		if (idle > IDLE_PASSES)
			consumer_sleep(s);
		else
			ring_set_wait(rings, pace_sleep_ns(&pace, c.now_ns, clock_mono_ns()));
	}
	while (consumer_pass(&c) || ring_set_backlog(rings))
		;
	return NULL;
}

int consumer_start(struct session *s, struct sbuf *err)
{
	int rc = pthread_create(&s->consumer, NULL, consumer_main, s);
	if (rc) {
		sbuf_addf(err, "cannot start the consumer thread: %s", strerror(rc));
		return -rc;
	}
	pthread_setname_np(s->consumer, "spanhound-rings");
	s->consuming = true;
	return 0;
}

void consumer_stop(struct session *s)
{
	if (!s->consuming)
		return;
	atomic_store(&s->stopping, true);
	ring_set_wake(kernel_rings(s->kernel));
	pthread_join(s->consumer, NULL);
	s->consuming = false;
}
