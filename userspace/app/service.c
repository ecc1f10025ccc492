/* SPDX-License-Identifier: Apache-2.0 */
#include "app/service.h"

#include <errno.h>

#include "app/session_private.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/notify.h"
#include "target/match.h"

/* When after an exec to look whether anybody listens who did not: most do at once, a JVM takes half a minute. */
static const uint64_t look_after_ns[] = {1 * NSEC_PER_SEC, 3 * NSEC_PER_SEC, 10 * NSEC_PER_SEC, 30 * NSEC_PER_SEC};
#define LOOKS	      (sizeof(look_after_ns) / sizeof(look_after_ns[0]))
#define LOOK_EVERY_NS (300 * NSEC_PER_SEC) /* who listens without an exec of its own, or much later */
/* A storm of short-lived processes costs one look in that time. */
#define LOOK_PAUSE_NS (2 * NSEC_PER_SEC)

struct service {
	struct session *session;
	bool ready;
	uint64_t watchdog_ns, watchdog_due_ns;
	unsigned passes; /* of the consumer, when the watchdog was last told */
	uint64_t executed_ns, look_due_ns, looked_ns;
	unsigned look; /* of look_after_ns, the next */
};

int service_open(struct service **ret, struct session *s, struct sbuf *err)
{
	struct service *v = calloc(1, sizeof(*v));
	if (!v) {
		sbuf_adds(err, "out of memory");
		return -ENOMEM;
	}
	v->session = s;
	v->watchdog_ns = notify_watchdog_ns() / 2;
	v->watchdog_due_ns = clock_mono_ns() + v->watchdog_ns;
	v->look_due_ns = clock_mono_ns() + LOOK_EVERY_NS;
	v->look = LOOKS;
	*ret = v;
	return 0;
}

void service_close(struct service *v)
{
	free(v);
}

static void service_tell(const char *lines)
{
	int rc = notify_send(lines);
	if (rc < 0)
		log_warn("cannot tell the service manager (NOTIFY_SOCKET): %s", strerror(-rc));
}

void service_ready(struct service *v)
{
	v->ready = true;
	service_tell("READY=1\n");
}

void service_stopping(struct service *v)
{
	if (v->ready)
		service_tell("STOPPING=1\n");
}

unsigned service_pollfds(struct service *v, struct pollfd *fds, unsigned cap)
{
	(void)v;
	(void)fds;
	(void)cap;
	return 0;
}

void service_polled(struct service *v, const struct pollfd *fds, unsigned cnt)
{
	(void)v;
	(void)fds;
	(void)cnt;
}

/* Alive is who drains the rings: the consumer makes a pass at least every 200 ms. */
static void service_watchdog(struct service *v, uint64_t now_ns)
{
	if (!v->watchdog_ns || now_ns < v->watchdog_due_ns)
		return;
	v->watchdog_due_ns = now_ns + v->watchdog_ns;
	unsigned passes = atomic_load(&v->session->consumer_passes);
	if (passes != v->passes)
		notify_send("WATCHDOG=1\n");
	else
		log_warn("the consumer makes no progress: the watchdog is not told that all is well");
	v->passes = passes;
}

static bool service_must_look(const struct service *v)
{
	const struct probe_list *list = v->session->options.list;
	vec_foreach (target, &list->targets)
		if (target_needs_listening(target))
			return true;
	return false;
}

void service_executed(struct service *v, uint64_t now_ns)
{
	v->executed_ns = now_ns;
	v->look = 0;
	uint64_t due = now_ns + look_after_ns[0];
	/* Not put off by those that come after. */
	if (due < v->look_due_ns)
		v->look_due_ns = due > v->looked_ns + LOOK_PAUSE_NS ? due : v->looked_ns + LOOK_PAUSE_NS;
}

static void service_look(struct service *v, uint64_t now_ns)
{
	if (now_ns < v->look_due_ns)
		return;
	while (v->look < LOOKS && v->executed_ns + look_after_ns[v->look] <= now_ns)
		v->look++;
	v->look_due_ns = v->look < LOOKS ? v->executed_ns + look_after_ns[v->look] : now_ns + LOOK_EVERY_NS;
	v->looked_ns = now_ns;
	if (service_must_look(v))
		targets_attach_all(v->session);
}

void service_tick(struct service *v, uint64_t now_ns)
{
	service_watchdog(v, now_ns);
	service_look(v, now_ns);
}
