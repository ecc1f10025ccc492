/* SPDX-License-Identifier: Apache-2.0 */
#include "app/container_runtime.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/confine.h"
#include "base/log.h"
#include "export/http.h"

struct container_runtime {
	struct agent_url where;
	struct containers *containers;
	pthread_t thread;
	bool running;
	atomic_bool stopping;
	int wanted;   /* eventfd: there is something to ask */
	int answered; /* eventfd */
	bool failed;  /* it was said; once until it works again */
};

static void signal_fd(int fd)
{
	uint64_t one = 1;
	if (write(fd, &one, sizeof(one)) < 0)
		return; /* full: it is readable */
}

static void on_wanted(void *arg)
{
	struct container_runtime *r = arg;
	signal_fd(r->wanted);
}

/* The id is of letters, digits, '-' and '_' (target/container.h): it can stand in a path. */
static int ask(struct container_runtime *r, const char *id)
{
	struct sbuf body __cleanup(sbuf_release) = {0}, err __cleanup(sbuf_release) = {0};
	char path[CONTAINER_ID_MAX + 32];
	snprintf(path, sizeof(path), "/containers/%s/json", id);
	int status = http_get(&r->where, path, RUNTIME_TIMEOUT_NS, &body, &err);
	if (status == 200 && containers_answer(r->containers, id, sbuf_sv(&body)) == 0) {
		r->failed = false;
		return 0;
	}
	bool unknown = status == 404;
	if (!unknown && !r->failed) {
		if (status < 0)
			log_warn("%s: %s: names and labels of containers are not known", r->where.shown,
				 sbuf_str(&err));
		else
			log_warn(
				"%s: answered %d to GET %s, not what Docker's API says: names and labels of containers "
				"are not known",
				r->where.shown, status, path);
		r->failed = true;
	}
	containers_no_answer(r->containers, id, unknown, clock_mono_ns());
	return unknown ? 0 : -EIO;
}

static bool ask_all(struct container_runtime *r)
{
	char id[CONTAINER_ID_MAX + 1];
	int rc = 0;
	bool any = false;
	while (!atomic_load(&r->stopping) && containers_next(r->containers, clock_mono_ns(), id)) {
		/* One silence is enough: those behind it are not made to wait for the same. */
		if (rc < 0)
			containers_no_answer(r->containers, id, false, clock_mono_ns());
		else
			rc = ask(r, id);
		any = true;
	}
	return any;
}

static void *container_runtime_thread(void *arg)
{
	struct container_runtime *r = arg;
	pthread_setname_np(pthread_self(), "containers");
	confine_worker("containers");
	while (!atomic_load(&r->stopping)) {
		struct pollfd fd = {.fd = r->wanted, .events = POLLIN};
		uint64_t n;
		poll(&fd, 1, r->failed ? (int)(CONTAINERS_RETRY_NS / NSEC_PER_MSEC) + 1 : -1);
		if (fd.revents && read(r->wanted, &n, sizeof(n)) < 0 && errno != EAGAIN)
			break;
		if (ask_all(r))
			signal_fd(r->answered);
	}
	return NULL;
}

static const char *usual_socket(char *buf, size_t sz)
{
	static const char *const places[] = {"/var/run/docker.sock", "/run/podman/podman.sock"};
	const char *host = getenv("DOCKER_HOST");
	if (host && *host)
		return strncmp(host, "unix:///", 8) == 0 ? host : NULL;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		if (access(places[i], F_OK) == 0) {
			snprintf(buf, sz, "unix://%s", places[i]);
			return buf;
		}
	}
	return NULL;
}

static int container_runtime_open(struct container_runtime *r)
{
	r->containers = containers_new(on_wanted, r);
	r->wanted = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r->answered = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!r->containers)
		return -ENOMEM;
	if (r->wanted < 0 || r->answered < 0)
		return -errno;
	int rc = pthread_create(&r->thread, NULL, container_runtime_thread, r);
	r->running = rc == 0;
	return -rc;
}

int container_runtime_start(struct container_runtime **ret, const char *socket, struct sbuf *err)
{
	char buf[64];
	*ret = NULL;
	if (!socket)
		socket = usual_socket(buf, sizeof(buf));
	if (!socket)
		return 0;
	struct container_runtime *r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->wanted = r->answered = -1;
	int rc = agent_url_parse(&r->where, socket, err);
	if (rc == 0)
		rc = container_runtime_open(r);
	if (rc < 0) {
		container_runtime_stop(r);
		return rc;
	}
	*ret = r;
	return 0;
}

void container_runtime_stop(struct container_runtime *r)
{
	if (!r)
		return;
	atomic_store(&r->stopping, true);
	if (r->running) {
		signal_fd(r->wanted);
		pthread_join(r->thread, NULL);
	}
	closep(&r->wanted);
	closep(&r->answered);
	containers_free(r->containers);
	agent_url_release(&r->where);
	free(r);
}

struct containers *container_runtime_containers(struct container_runtime *r)
{
	return r->containers;
}

int container_runtime_fd(const struct container_runtime *r)
{
	return r->answered;
}

const char *container_runtime_shown(const struct container_runtime *r)
{
	return r->where.shown;
}
