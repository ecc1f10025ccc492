/* SPDX-License-Identifier: Apache-2.0 */
#include "app/service.h"

#include <errno.h>
#include <stdio.h>

#include "app/contexts.h"
#include "app/guard.h"
#include "app/health_server.h"
#include "app/reload.h"
#include "app/session_private.h"
#include "app/watch.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/notify.h"
#include "base/units.h"
#include "target/match.h"

/* When after an exec to look whether anybody listens who did not: most do at once, a JVM takes half a minute. */
static const uint64_t look_after_ns[] = {1 * NSEC_PER_SEC, 3 * NSEC_PER_SEC, 10 * NSEC_PER_SEC, 30 * NSEC_PER_SEC};
#define LOOKS	      (sizeof(look_after_ns) / sizeof(look_after_ns[0]))
#define LOOK_EVERY_NS (300 * NSEC_PER_SEC) /* who listens without an exec of its own, or much later */
/* A storm of short-lived processes costs one look in that time. */
#define LOOK_PAUSE_NS (2 * NSEC_PER_SEC)

/* A file that is being written changes several times. */
#define SETTLE_NS	   (200 * NSEC_PER_MSEC)
#define GIVE_BACK_EVERY_NS NSEC_PER_SEC
/* The consumer makes a pass every 200 ms at least. */
#define ALIVE_NS (5 * NSEC_PER_SEC)

struct service {
	struct session *session;
	struct reload reload;
	struct guard guard;
	struct watch watch;
	struct control *control;      /* NULL: the default socket could not be had */
	struct health_server *health; /* NULL: nobody asked for one */
	unsigned alive_passes;	      /* of the consumer at the last look, which */
	uint64_t alive_ns;	      /* differed then */
	uint64_t reload_due_ns;	      /* UINT64_MAX: not */
	uint64_t give_back_due_ns;
	bool ready;
	uint64_t watchdog_ns, watchdog_due_ns;
	unsigned passes; /* of the consumer, when the watchdog was last told */
	uint64_t executed_ns, look_due_ns, looked_ns;
	unsigned look; /* of look_after_ns, the next */
};

static void service_tell(const char *lines)
{
	int rc = notify_send(lines);
	if (rc < 0)
		log_warn("cannot tell the service manager (NOTIFY_SOCKET): %s", strerror(-rc));
}

/* Type=notify-reload of systemd.service(5) wants the time with it, and READY=1 behind. */
static void service_tell_reloading(void)
{
	char text[64];
	snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%llu\n",
		 (unsigned long long)(clock_mono_ns() / NSEC_PER_USEC));
	service_tell(text);
}

static void service_log_refusal(struct service *v)
{
	struct sv lines = sbuf_sv(&v->reload.error);
	log_error("%s is refused, and all stays as it was:", v->session->options.config);
	while (lines.len) {
		const char *end = memchr(lines.data, '\n', lines.len);
		size_t len = end ? (size_t)(end - lines.data) : lines.len;
		log_error("%.*s", (int)len, lines.data);
		len += end != NULL;
		lines = (struct sv){lines.data + len, lines.len - len};
	}
}

static void service_reload_now(struct service *v, bool asked)
{
	struct sbuf what = {0};
	struct session *s = v->session;
	v->reload_due_ns = UINT64_MAX;
	service_tell_reloading();
	switch (reload_file(&v->reload, s, &what)) {
	case RELOAD_SAME:
		log_write(asked ? LOG_INFO : LOG_DEBUG, "%s says what it said before", s->options.config);
		break;
	case RELOAD_DONE:
		log_info("reloaded %s: %s", s->options.config, sbuf_str(&what));
		if (v->watch.fd >= 0)
			watch_more(&v->watch, s->options.config, s->options.list);
		break;
	case RELOAD_REFUSED:
		service_log_refusal(v);
		break;
	}
	service_tell("READY=1\n");
	sbuf_release(&what);
}

static void service_status(void *arg, struct status *ret)
{
	struct service *v = arg;
	*ret = (struct status){
		.session = v->session,
		.reload = &v->reload,
		.ready = v->ready,
		.alive = clock_mono_ns() - v->alive_ns < ALIVE_NS,
		.probe_cost_ns = guard_cost_ns(&v->guard),
		.off = v->guard.off,
		.taken_off = v->guard.taken_off,
		.shed = v->guard.shed,
	};
}

static bool service_probe_words(struct service *v, struct sv words, struct sv text, struct sbuf *out)
{
	struct status st;
	struct sv remove = SV("probe remove ");
	uint64_t n;
	enum reload_end end;
	if (sv_eq(words, SV("probe list"))) {
		service_status(v, &st);
		status_probes(&st, out);
		return true;
	}
	if (sv_eq(words, SV("probe add"))) {
		end = reload_add_probes(&v->reload, v->session, text, out);
	} else if (sv_starts(words, remove) &&
		   units_unsigned((struct sv){words.data + remove.len, words.len - remove.len}, &n) &&
		   n <= UINT32_MAX) {
		end = reload_remove_probe(&v->reload, v->session, (uint32_t)n, out);
	} else {
		sbuf_adds(out, "probe what? list, add, remove N");
		return false;
	}
	if (end == RELOAD_REFUSED)
		sbuf_addsv(out, sbuf_sv(&v->reload.error));
	else if (end == RELOAD_SAME)
		sbuf_adds(out, "it is there already\n");
	else
		sbuf_addc(out, '\n');
	return end != RELOAD_REFUSED;
}

static bool service_reload_words(struct service *v, struct sbuf *out)
{
	service_reload_now(v, true);
	if (v->reload.bad)
		sbuf_addsv(out, sbuf_sv(&v->reload.error));
	return !v->reload.bad;
}

static bool service_answer(void *arg, struct sv words, struct sv text, struct sbuf *out)
{
	struct service *v = arg;
	struct status st;
	if (sv_starts(words, SV("probe")))
		return service_probe_words(v, words, text, out);
	if (sv_eq(words, SV("reload")))
		return service_reload_words(v, out);
	if (sv_eq(words, SV("status"))) {
		service_status(v, &st);
		status_json(&st, out);
		return true;
	}
	if (sv_eq(words, SV("flush"))) {
		export_queue_flush(v->session->queue);
		return true;
	}
	if (sv_starts(words, SV("context")))
		return contexts_answer(v->session, words, out);
	sbuf_addf(out, "there is no '" SV_FMT "'; there are: status, flush, reload, probe, context", SV_ARG(words));
	return false;
}

/* Who asked for a socket gets it or an error; the default one is a convenience. */
static int service_listen(struct service *v, struct sbuf *err)
{
	const struct probe_service *want = &v->session->options.list->service_of_daemon;
	const char *asked = v->session->options.control;
	if (!asked && want->control_socket.len)
		asked = want->control_socket.data;
	int rc = control_open(&v->control, asked ? asked : CONTROL_SOCKET, service_answer, v, err);
	if (rc < 0 && asked)
		return rc;
	if (rc < 0)
		log_warn("`spanhound ctl` will not work: %s", sbuf_str(err));
	sbuf_reset(err);
	return want->health_listen.len
		       ? health_server_open(&v->health, want->health_listen.data, service_status, v, err)
		       : 0;
}

int service_open(struct service **ret, struct session *s, struct sbuf *err)
{
	struct service *v = calloc(1, sizeof(*v));
	if (!v) {
		sbuf_adds(err, "out of memory");
		return -ENOMEM;
	}
	v->session = s;
	v->reload_due_ns = UINT64_MAX;
	int rc = watch_open(&v->watch, s->options.config, s->options.list);
	if (rc < 0) {
		log_warn("%s is not watched for changes (%s): SIGHUP tells of them", s->options.config, strerror(-rc));
		v->watch.fd = -1;
	}
	v->watchdog_ns = notify_watchdog_ns() / 2;
	v->watchdog_due_ns = clock_mono_ns() + v->watchdog_ns;
	v->look_due_ns = clock_mono_ns() + LOOK_EVERY_NS;
	v->look = LOOKS;
	v->alive_ns = clock_mono_ns();
	rc = guard_init(&v->guard, s);
	if (rc == 0)
		rc = service_listen(v, err);
	if (rc < 0) {
		service_close(v);
		return rc;
	}
	*ret = v;
	return 0;
}

void service_close(struct service *v)
{
	if (!v)
		return;
	control_close(v->control);
	health_server_close(v->health);
	watch_close(&v->watch);
	guard_release(&v->guard);
	reload_release(&v->reload);
	free(v);
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

void service_reload(struct service *v)
{
	service_reload_now(v, true);
}

unsigned service_pollfds(struct service *v, struct pollfd *fds, unsigned cap)
{
	unsigned cnt = 0;
	if (v->watch.fd >= 0 && cnt < cap)
		fds[cnt++] = (struct pollfd){.fd = v->watch.fd, .events = POLLIN};
	if (v->health && cnt < cap)
		fds[cnt++] = (struct pollfd){.fd = health_server_fd(v->health), .events = POLLIN};
	return v->control ? cnt + control_pollfds(v->control, fds + cnt, cap - cnt) : cnt;
}

void service_polled(struct service *v, const struct pollfd *fds, unsigned cnt)
{
	for (unsigned i = 0; i < cnt; i++)
		if (fds[i].revents && fds[i].fd == v->watch.fd && watch_changed(&v->watch))
			v->reload_due_ns = clock_mono_ns() + SETTLE_NS;
	if (v->health)
		health_server_run(v->health);
	if (v->control)
		control_polled(v->control, fds, cnt, clock_mono_ns());
}

uint64_t service_due(const struct service *v)
{
	return v->reload_due_ns;
}

static void service_alive(struct service *v, uint64_t now_ns)
{
	unsigned passes = atomic_load(&v->session->consumer_passes);
	if (passes != v->alive_passes)
		v->alive_ns = now_ns;
	v->alive_passes = passes;
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
	log_tick();
	service_alive(v, now_ns);
	service_watchdog(v, now_ns);
	if (v->control)
		control_tick(v->control, now_ns);
	service_look(v, now_ns);
	if (now_ns >= v->reload_due_ns)
		service_reload_now(v, false);
	if (guard_tick(&v->guard, now_ns))
		reload_plan(v->session);
	if (now_ns >= v->give_back_due_ns) {
		v->give_back_due_ns = now_ns + GIVE_BACK_EVERY_NS;
		reload_tick(&v->reload, v->session);
	}
}

void service_unpublish(struct service *v, const struct plan_function *f)
{
	guard_unpublish(&v->guard, f);
}
