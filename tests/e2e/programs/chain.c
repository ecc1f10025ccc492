/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One hop of a chain of HTTP services, and the load that goes through it:
 *
 *	chain thread|pool|epoll|timers|store|shared PORT [NEXT]   serves /r/ID..., asks the next hop for /r/ID.../MODE before it answers
 *	chain load PORT CONNECTIONS REQUESTS FIRST_ID
 *
 * Each of PORT and NEXT is a TCP port of 127.0.0.1, or the path of a Unix socket, with a slash in it.
 *
 * thread  a thread per connection, the connections to the next hop shared by all of them
 * pool    one thread reads, eight others take the requests from a queue, ask and answer
 * epoll   one thread, everything without blocking; connections to the next hop are opened when none is idle
 * timers  the same, but a request waits a little before the next hop is asked: by a timer of the loop's
 * store   the same, but before the next hop a store is asked, which speaks a protocol of its own, on a connection that no other
 *	   request uses meanwhile
 * shared  the same, but all questions to the store go over one connection, and answers overtake each other
 *
 * Waits are short and random, so that requests overtake each other. Nothing but the path says which request is which.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noipa))
#define MAX_HEAD 2048
#define WORKERS	 8

static const char *mode;
static const char *next_place;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* --- sockets and HTTP --------------------------------------------------------------------------------------------- */

struct address {
	socklen_t len;
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_un un;
	};
};

static struct address address_of(const char *place)
{
	struct address a = {.len = sizeof(a.in)};
	if (strchr(place, '/')) {
		a.len = sizeof(a.un);
		a.un.sun_family = AF_UNIX;
		snprintf(a.un.sun_path, sizeof(a.un.sun_path), "%s", place);
	} else {
		a.in.sin_family = AF_INET;
		a.in.sin_port = htons((uint16_t)atoi(place));
		a.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	}
	return a;
}

static void no_delay(int fd)
{
	int one = 1; /* no harm to a Unix socket, which does not know it */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static int open_connection(const char *place, int flags)
{
	struct address a = address_of(place);
	int fd = socket(a.any.sa_family, SOCK_STREAM | flags, 0);
	if (fd < 0)
		die("socket");
	no_delay(fd);
	if (connect(fd, &a.any, a.len) && errno != EINPROGRESS)
		die("connect");
	return fd;
}

static int listen_on(const char *place)
{
	struct address a = address_of(place);
	int fd = socket(a.any.sa_family, SOCK_STREAM, 0), one = 1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, &a.any, a.len) || listen(fd, 1024))
		die("listen");
	return fd;
}

static void put(int fd, const char *text, size_t len)
{
	if (write(fd, text, len) != (ssize_t)len)
		die("write");
}

/* Length of a whole message, 0: more is to come. */
static size_t message_len(const char *text)
{
	const char *end = strstr(text, "\r\n\r\n"), *length = strcasestr(text, "\r\nContent-Length:");
	if (!end)
		return 0;
	size_t len = (size_t)(end + 4 - text) + (length && length < end ? strtoul(length + 17, NULL, 10) : 0);
	return strlen(text) >= len ? len : 0;
}

/* False: closed. */
static int get(int fd, char text[MAX_HEAD])
{
	size_t len = 0;
	do {
		ssize_t n = read(fd, text + len, MAX_HEAD - 1 - len);
		if (n <= 0)
			return 0;
		text[len += (size_t)n] = 0;
	} while (!message_len(text));
	return 1;
}

static int make_request(char out[MAX_HEAD], const char *request)
{
	const char *path = strchr(request, ' ') + 1;
	return snprintf(out, MAX_HEAD, "GET %.*s/%s HTTP/1.1\r\nHost: chain\r\n\r\n", (int)strcspn(path, " "), path,
			mode);
}

static void answer(int fd)
{
	static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
	put(fd, text, sizeof(text) - 1);
}

static void wait_a_little(unsigned max_us)
{
	static __thread unsigned seed;
	if (!seed)
		seed = (unsigned)getpid() * 31 + (unsigned)(size_t)&seed / 4096;
	usleep((unsigned)rand_r(&seed) % max_us);
}

/* --- blocking: thread, pool --------------------------------------------------------------------------------------- */

static pthread_mutex_t idle_lock = PTHREAD_MUTEX_INITIALIZER;
static int idle[4096], idle_cnt;

static int borrow(void)
{
	pthread_mutex_lock(&idle_lock);
	int fd = idle_cnt ? idle[--idle_cnt] : -1;
	pthread_mutex_unlock(&idle_lock);
	return fd >= 0 ? fd : open_connection(next_place, 0);
}

static void give_back(int fd)
{
	pthread_mutex_lock(&idle_lock);
	idle[idle_cnt++] = fd;
	pthread_mutex_unlock(&idle_lock);
}

NOINLINE int p_chain_ask(const char *request)
{
	char text[MAX_HEAD];
	int len = make_request(text, request), fd = borrow();
	put(fd, text, (size_t)len);
	if (!get(fd, text))
		die("next hop");
	give_back(fd);
	return 0;
}

NOINLINE int p_chain_handle(int fd, const char *request)
{
	wait_a_little(1000);
	if (next_place) {
		p_chain_ask(request);
		wait_a_little(300);
	}
	answer(fd);
	return 0;
}

static void *serve_connection(void *arg)
{
	int fd = (int)(size_t)arg;
	char request[MAX_HEAD];
	while (get(fd, request))
		p_chain_handle(fd, request);
	close(fd);
	return NULL;
}

static void start_thread(void *(*run)(void *), void *arg)
{
	pthread_t t;
	pthread_attr_t a;
	pthread_attr_init(&a);
	pthread_attr_setstacksize(&a, 64 << 10);
	pthread_attr_setdetachstate(&a, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&t, &a, run, arg))
		die("thread");
}

static void serve_by_threads(int listener)
{
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		if (fd < 0)
			die("accept");
		no_delay(fd);
		start_thread(serve_connection, (void *)(size_t)fd);
	}
}

/* --- pool --------------------------------------------------------------------------------------------------------- */

struct job {
	struct job *next;
	int fd;
	char request[MAX_HEAD];
};

static struct job *jobs, **jobs_end = &jobs;
static pthread_mutex_t jobs_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t jobs_there = PTHREAD_COND_INITIALIZER;

NOINLINE void p_chain_enqueue(struct job *job)
{
	pthread_mutex_lock(&jobs_lock);
	job->next = NULL;
	*jobs_end = job;
	jobs_end = &job->next;
	pthread_cond_signal(&jobs_there);
	pthread_mutex_unlock(&jobs_lock);
}

static struct job *dequeue(void)
{
	pthread_mutex_lock(&jobs_lock);
	while (!jobs)
		pthread_cond_wait(&jobs_there, &jobs_lock);
	struct job *job = jobs;
	jobs = job->next;
	if (!jobs)
		jobs_end = &jobs;
	pthread_mutex_unlock(&jobs_lock);
	return job;
}

NOINLINE void p_chain_run(struct job *job)
{
	p_chain_handle(job->fd, job->request);
}

static void *work(void *arg)
{
	for (;;) {
		struct job *job = dequeue();
		p_chain_run(job);
		free(job);
	}
	return arg;
}

static void watch(int epoll, int op, int fd, uint32_t events, void *data)
{
	struct epoll_event e = {.events = events, .data.ptr = data};
	if (epoll_ctl(epoll, op, fd, &e))
		die("epoll_ctl");
}

static void serve_by_pool(int listener)
{
	int epoll = epoll_create1(0);
	watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN, (void *)(size_t)listener);
	for (int i = 0; i < WORKERS; i++)
		start_thread(work, NULL);
	for (;;) {
		struct epoll_event e;
		if (epoll_wait(epoll, &e, 1, -1) != 1)
			continue;
		int fd = (int)(size_t)e.data.ptr;
		if (fd == listener) {
			fd = accept(listener, NULL, NULL);
			no_delay(fd);
			watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, (void *)(size_t)fd);
			continue;
		}
		struct job *job = malloc(sizeof(*job));
		job->fd = fd;
		if (get(fd, job->request)) {
			p_chain_enqueue(job);
			continue;
		}
		close(fd);
		free(job);
	}
}

/* --- epoll -------------------------------------------------------------------------------------------------------- */

enum { CLIENT, UPSTREAM, STORE };

struct end {
	int fd;
	int kind;
	struct end *other; /* whose request is under way, either way */
	struct end *next;  /* idle ones, and those that wait */
	long due_us;
	size_t len;
	char text[MAX_HEAD];
};

static struct end *idle_ends, *waiting_ends, *idle_stores, *shared_store;
static int loop;

static struct end *end_new(int fd, int kind, uint32_t events)
{
	struct end *e = calloc(1, sizeof(*e));
	e->fd = fd;
	e->kind = kind;
	watch(loop, EPOLL_CTL_ADD, fd, events, e);
	return e;
}

static void end_ask(struct end *up)
{
	char text[MAX_HEAD];
	put(up->fd, text, (size_t)make_request(text, up->other->text));
	up->other->len = 0;
}

static void end_pass_on(struct end *client)
{
	struct end *up = idle_ends;
	if (up) {
		idle_ends = up->next;
		up->other = client;
		end_ask(up);
		return;
	}
	up = end_new(open_connection(next_place, SOCK_NONBLOCK), UPSTREAM, EPOLLOUT);
	up->other = client;
}

/* --- the store, on a thread of its own: "Q NAME\n" is answered by "A NAME\n" ---------------------------------------- */

static char store_place[8];

/* What came is answered from the last question to the first. */
static void store_answer(int fd, char *questions)
{
	char *q;
	while ((q = strrchr(questions, 'Q'))) {
		*q = 'A';
		put(fd, q, strlen(q));
		*q = 0;
	}
}

static void *store_connection(void *arg)
{
	int fd = (int)(size_t)arg;
	char text[MAX_HEAD];
	size_t len = 0;
	for (;;) {
		ssize_t n = read(fd, text + len, MAX_HEAD - 1 - len);
		if (n <= 0)
			break;
		text[len += (size_t)n] = 0;
		char *end = strrchr(text, '\n'), rest[MAX_HEAD];
		if (!end)
			continue;
		strcpy(rest, end + 1);
		end[1] = 0;
		wait_a_little(500);
		store_answer(fd, text);
		strcpy(text, rest);
		len = strlen(text);
	}
	close(fd);
	return NULL;
}

static void *store(void *arg)
{
	while (arg) {
		int fd = accept((int)(size_t)arg, NULL, NULL);
		if (fd < 0)
			die("accept");
		no_delay(fd);
		start_thread(store_connection, (void *)(size_t)fd);
	}
	return NULL;
}

static void store_start(void)
{
	int listener = listen_on("0");
	struct sockaddr_in a;
	socklen_t len = sizeof(a);
	if (getsockname(listener, (struct sockaddr *)&a, &len))
		die("getsockname");
	snprintf(store_place, sizeof(store_place), "%u", ntohs(a.sin_port));
	start_thread(store, (void *)(size_t)listener);
}

static void store_question(struct end *s, struct end *client)
{
	char text[32];
	s->other = client;
	put(s->fd, text, (size_t)snprintf(text, sizeof(text), "Q %p\n", (void *)client));
}

static struct end *store_new(void)
{
	return end_new(open_connection(store_place, 0), STORE, EPOLLIN);
}

static void store_ask(struct end *client)
{
	struct end *s = shared_store;
	if (!strcmp(mode, "shared")) {
		if (!s)
			s = shared_store = store_new();
	} else if ((s = idle_stores)) {
		idle_stores = s->next;
	} else {
		s = store_new();
	}
	store_question(s, client);
}

/* One line, or several, or less than one. */
static void store_answered(struct end *s)
{
	char *line = s->text, *end;
	for (; (end = strchr(line, '\n')); line = end + 1) {
		void *client;
		if (sscanf(line, "A %p", &client) != 1)
			die("store");
		if (s != shared_store) {
			s->next = idle_stores;
			idle_stores = s;
		}
		end_pass_on(client);
	}
	s->len = strlen(line);
	memmove(s->text, line, s->len + 1);
}

/* --- epoll, again ------------------------------------------------------------------------------------------------- */

static long now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void end_request(struct end *client)
{
	static unsigned seed = 1;
	if (!next_place) {
		client->len = 0;
		answer(client->fd);
	} else if (!strcmp(mode, "timers")) {
		client->due_us = now_us() + rand_r(&seed) % 3000;
		client->next = waiting_ends;
		waiting_ends = client;
	} else if (*store_place) {
		store_ask(client);
	} else {
		end_pass_on(client);
	}
}

/* Passes on what is due. Returns how many milliseconds the next one has, -1: there is none. */
static int run_timers(void)
{
	struct end **at = &waiting_ends;
	long now = now_us(), first = -1;
	while (*at) {
		struct end *e = *at;
		if (e->due_us > now) {
			first = first < 0 || e->due_us < first ? e->due_us : first;
			at = &e->next;
			continue;
		}
		*at = e->next;
		end_pass_on(e);
	}
	return first < 0 ? -1 : (int)((first - now) / 1000) + 1;
}

static void end_response(struct end *up)
{
	up->len = 0;
	answer(up->other->fd);
	up->other = NULL;
	up->next = idle_ends;
	idle_ends = up;
}

static void end_ready(struct end *e, uint32_t events)
{
	if (events & EPOLLOUT) {
		watch(loop, EPOLL_CTL_MOD, e->fd, EPOLLIN, e);
		end_ask(e);
		return;
	}
	ssize_t n = read(e->fd, e->text + e->len, MAX_HEAD - 1 - e->len);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		if (e->kind != CLIENT)
			die("next hop");
		close(e->fd);
		free(e);
		return;
	}
	e->text[e->len += (size_t)n] = 0;
	if (e->kind == STORE)
		store_answered(e);
	else if (!message_len(e->text))
		return;
	else if (e->kind == UPSTREAM)
		end_response(e);
	else
		end_request(e);
}

static void serve_by_epoll(int listener)
{
	loop = epoll_create1(0);
	watch(loop, EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
	for (;;) {
		struct epoll_event events[64];
		int cnt = epoll_wait(loop, events, 64, run_timers());
		for (int i = 0; i < cnt; i++) {
			if (events[i].data.ptr) {
				end_ready(events[i].data.ptr, events[i].events);
				continue;
			}
			int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
			no_delay(fd);
			end_new(fd, CLIENT, EPOLLIN);
		}
	}
}

/* --- load --------------------------------------------------------------------------------------------------------- */

static const char *load_place;
static int load_last;
static int load_next; /* id */

static void *load(void *arg)
{
	int fd = open_connection(load_place, 0);
	char text[MAX_HEAD];
	for (;;) {
		int id = __atomic_fetch_add(&load_next, 1, __ATOMIC_RELAXED);
		if (id >= load_last)
			break;
		put(fd, text, (size_t)snprintf(text, sizeof(text), "GET /r/%d HTTP/1.1\r\nHost: chain\r\n\r\n", id));
		if (!get(fd, text) || strncmp(text, "HTTP/1.1 200", 12))
			die("answer");
	}
	close(fd);
	return arg;
}

static int run_load(char **args)
{
	int cnt = atoi(args[1]);
	pthread_t threads[1024];
	load_place = args[0];
	load_next = atoi(args[3]);
	load_last = load_next + atoi(args[2]);
	for (int i = 0; i < cnt; i++)
		if (pthread_create(&threads[i], NULL, load, NULL))
			die("thread");
	for (int i = 0; i < cnt; i++)
		pthread_join(threads[i], NULL);
	return 0;
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	mode = argc > 1 ? argv[1] : "";
	if (argc == 6 && !strcmp(mode, "load"))
		return run_load(argv + 2);
	if (argc < 3)
		return 2;
	next_place = argc > 3 ? argv[3] : NULL;
	int listener = listen_on(argv[2]);
	if (!strcmp(mode, "thread"))
		serve_by_threads(listener);
	else if (!strcmp(mode, "pool"))
		serve_by_pool(listener);
	if (!strcmp(mode, "store") || !strcmp(mode, "shared"))
		store_start();
	if (!strcmp(mode, "epoll") || !strcmp(mode, "timers") || *store_place)
		serve_by_epoll(listener);
	return 2;
}
