/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/inject.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define READABLE_MS 200
#define WAIT_MS	    40		/* MSG_WAITALL is to wait at least half of it */
#define BULK_SZ	    (256 << 10) /* each way: more than a buffer of a socket that was just made */

const char *inject_mode_name(enum inject_mode mode)
{
	static const char *const names[INJECT_MODES] = {"plain", "verdict"};
	return names[mode];
}

int inject_choose(const struct inject_status *s, uint32_t does)
{
	does |= INJECT_READS;
	return s->on && (s->carries[INJECT_PLAIN] & does) == does ? INJECT_PLAIN : -1;
}

int inject_open_cgroup(struct sbuf *err)
{
	__cleanup(fclosep) FILE *f = fopen("/proc/self/mounts", "re");
	char line[4096], path[4096], type[64];
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%*s %4095s %63s", path, type) != 2 || strcmp(type, "cgroup2") != 0)
			continue;
		int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0)
			return fd;
	}
	sbuf_adds(err, "no cgroup v2 hierarchy is mounted");
	return -ENOENT;
}

/* --- the trial ---------------------------------------------------------------------------------------------------- */

struct trial {
	int map_fd, message_fd, verdict_fd;
	int here, there; /* the enrolled end, and the other one */
};

static void trial_end(struct trial *t)
{
	closep(&t->here);
	closep(&t->there);
	closep(&t->map_fd);
	closep(&t->message_fd);
	closep(&t->verdict_fd);
}

static int load_pass(enum bpf_prog_type type)
{
	const struct bpf_insn insns[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = SK_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};
	int fd = bpf_prog_load(type, "inject_try", "GPL", insns, 2, NULL);
	return fd < 0 ? -errno : fd;
}

static int trial_connect(struct trial *t)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);
	struct timeval patience = {.tv_usec = READABLE_MS * 1000};
	__cleanup(closep) int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	t->here = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || t->here < 0 || bind(listener, (struct sockaddr *)&at, sizeof(at)) < 0 ||
	    listen(listener, 1) < 0 || getsockname(listener, (struct sockaddr *)&at, &len) < 0 ||
	    connect(t->here, (struct sockaddr *)&at, sizeof(at)) < 0)
		return -errno;
	t->there = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (t->there < 0)
		return -errno;
	for (int i = 0; i < 2; i++) {
		int fd = i ? t->there : t->here;
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	}
	return 0;
}

static int trial_begin(struct trial *t, enum inject_mode mode)
{
	*t = (struct trial){-1, -1, -1, -1, -1};
	t->map_fd = bpf_map_create(BPF_MAP_TYPE_SOCKHASH, "inject_try", sizeof(uint64_t), sizeof(uint64_t), 1, NULL);
	if (t->map_fd < 0)
		return -errno;
	t->message_fd = load_pass(BPF_PROG_TYPE_SK_MSG);
	if (t->message_fd < 0)
		return t->message_fd;
	if (bpf_prog_attach(t->message_fd, t->map_fd, BPF_SK_MSG_VERDICT, 0) < 0)
		return -errno;
	if (mode == INJECT_VERDICT) {
		t->verdict_fd = load_pass(BPF_PROG_TYPE_SK_SKB);
		if (t->verdict_fd < 0)
			return t->verdict_fd;
		if (bpf_prog_attach(t->verdict_fd, t->map_fd, BPF_SK_SKB_VERDICT, 0) < 0)
			return -errno;
	}
	return trial_connect(t);
}

static int trial_enrol(const struct trial *t)
{
	uint64_t key = 1, value = (uint64_t)t->here;
	return bpf_map_update_elem(t->map_fd, &key, &value, BPF_ANY) < 0 ? -errno : 0;
}

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	return poll(&p, 1, READABLE_MS) == 1 && p.revents & POLLIN;
}

static bool sent(int fd, const char *data, size_t len)
{
	return send(fd, data, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static bool reads(const struct trial *t)
{
	char text[8];
	return sent(t->there, "123456", 6) && readable(t->here) && recv(t->here, text, 3, MSG_PEEK) == 3 &&
	       memcmp(text, "123", 3) == 0 && recv(t->here, text, 4, 0) == 4 && memcmp(text, "1234", 4) == 0 &&
	       read(t->here, text, sizeof(text)) == 2 && memcmp(text, "56", 2) == 0 && sent(t->here, "abc", 3) &&
	       recv(t->there, text, sizeof(text), 0) == 3 && memcmp(text, "abc", 3) == 0;
}

static bool asks(const struct trial *t)
{
	char text[8];
	int cnt = 0;
	return sent(t->there, "123456", 6) && readable(t->here) && ioctl(t->here, FIONREAD, &cnt) == 0 && cnt == 6 &&
	       read(t->here, text, 2) == 2 && ioctl(t->here, FIONREAD, &cnt) == 0 && cnt == 4 &&
	       read(t->here, text, sizeof(text)) == 4;
}

static bool splices(const struct trial *t)
{
	int ends[2];
	char text[8];
	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return false;
	bool right = sent(t->there, "123456", 6) && readable(t->here) &&
		     splice(t->here, NULL, ends[1], NULL, sizeof(text), SPLICE_F_NONBLOCK) == 6 &&
		     read(ends[0], text, sizeof(text)) == 6 && memcmp(text, "123456", 6) == 0;
	close(ends[0]);
	close(ends[1]);
	if (!right)
		(void)!recv(t->here, text, sizeof(text), MSG_DONTWAIT);
	return right;
}

/* Half of what is asked for is there: it has to wait for the rest. */
static bool waits(const struct trial *t)
{
	struct timeval patience = {.tv_usec = WAIT_MS * 1000};
	char text[8];
	if (setsockopt(t->here, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
	    !sent(t->there, "1234", 4) || !readable(t->here))
		return false;
	uint64_t start = clock_mono_ns();
	ssize_t cnt = recv(t->here, text, sizeof(text), MSG_WAITALL);
	return cnt == 4 && clock_mono_ns() - start > WAIT_MS * NSEC_PER_MSEC / 2;
}

/* Both ways at once, through buffers that fill up. */
static bool bulk(const struct trial *t)
{
	__cleanup(freep) unsigned char *buf = malloc(BULK_SZ);
	size_t out[2] = {0}, in[2] = {0};
	int fds[2] = {t->here, t->there};
	for (size_t i = 0; buf && i < BULK_SZ; i++)
		buf[i] = (unsigned char)(i * 7 + (i >> 8));
	while (buf && (in[0] < BULK_SZ || in[1] < BULK_SZ)) {
		struct pollfd p[2];
		for (int i = 0; i < 2; i++)
			p[i] = (struct pollfd){.fd = fds[i], .events = POLLIN | (out[i] < BULK_SZ ? POLLOUT : 0)};
		if (poll(p, 2, READABLE_MS) <= 0)
			return false;
		for (int i = 0; i < 2; i++) {
			unsigned char part[8192];
			ssize_t n = out[i] < BULK_SZ
					    ? send(fds[i], buf + out[i], BULK_SZ - out[i], MSG_DONTWAIT | MSG_NOSIGNAL)
					    : 0;
			out[i] += n > 0 ? (size_t)n : 0;
			n = recv(fds[i], part, sizeof(part), MSG_DONTWAIT);
			if (n > 0 && (in[i] + (size_t)n > BULK_SZ || memcmp(part, buf + in[i], (size_t)n) != 0))
				return false;
			in[i] += n > 0 ? (size_t)n : 0;
		}
	}
	return buf != NULL;
}

/* The other end closes: end of file, and nothing before it is lost. */
static bool ends(struct trial *t)
{
	char text[8];
	bool right = sent(t->there, "12", 2) && shutdown(t->there, SHUT_WR) == 0 && readable(t->here) &&
		     read(t->here, text, sizeof(text)) == 2 && readable(t->here) &&
		     read(t->here, text, sizeof(text)) == 0;
	return right && sent(t->here, "x", 1) && read(t->there, text, sizeof(text)) == 1;
}

/* Enrolled between two reads of what came in one piece. */
static bool joins(const struct trial *t)
{
	char text[8];
	return sent(t->there, "123456", 6) && readable(t->here) && read(t->here, text, 2) == 2 && trial_enrol(t) == 0 &&
	       read(t->here, text, sizeof(text)) == 4 && memcmp(text, "3456", 4) == 0 && sent(t->there, "ab", 2) &&
	       readable(t->here) && read(t->here, text, sizeof(text)) == 2 && memcmp(text, "ab", 2) == 0;
}

struct sleeper {
	int fd;
	_Atomic pid_t tid; /* set as it is about to read */
	int error;	   /* what the read ended with */
};

static void *sleep_in_read(void *arg)
{
	struct sleeper *s = arg;
	char byte;
	s->tid = gettid();
	s->error = recv(s->fd, &byte, 1, 0) < 0 ? errno : 0;
	return NULL;
}

/* Until it sleeps, or for as long as the read may take. */
static void await_sleep(const struct sleeper *s)
{
	char path[64], state = 0;
	for (int ms = 0; state != 'S' && ms < READABLE_MS / 2; ms++) {
		poll(NULL, 0, 1);
		snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)s->tid);
		__cleanup(fclosep) FILE *f = s->tid ? fopen(path, "re") : NULL;
		if (f && fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
			return;
	}
}

/* The other end resets the connection while a read waits for it. */
static bool blocks(struct trial *t)
{
	struct sleeper s = {.fd = t->here};
	struct linger at_once = {.l_onoff = 1};
	pthread_t thread;
	if (setsockopt(t->there, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)) < 0 ||
	    pthread_create(&thread, NULL, sleep_in_read, &s) != 0)
		return false;
	await_sleep(&s);
	closep(&t->there);
	pthread_join(thread, NULL);
	return s.error == ECONNRESET;
}

static int try_one(enum inject_mode mode, uint32_t what)
{
	struct trial t;
	int rc = trial_begin(&t, mode);
	if (rc == 0 && what != INJECT_JOINS)
		rc = trial_enrol(&t);
	if (rc == 0 && what == INJECT_JOINS)
		rc = joins(&t);
	else if (rc == 0 && what == INJECT_READS)
		rc = reads(&t) && bulk(&t) && ends(&t);
	else if (rc == 0)
		rc = what == INJECT_ASKS      ? asks(&t)
		     : what == INJECT_SPLICES ? splices(&t)
		     : what == INJECT_BLOCKS  ? blocks(&t)
					      : waits(&t);
	trial_end(&t);
	return rc;
}

int inject_try(enum inject_mode mode)
{
	uint32_t carries = 0;
	for (uint32_t what = INJECT_READS; what <= INJECT_BLOCKS; what <<= 1) {
		int rc = try_one(mode, what);
		if (rc < 0)
			return rc;
		carries |= rc ? what : 0;
	}
	return (int)carries;
}

void inject_probe(struct inject_status *ret, bool verdict)
{
	*ret = (struct inject_status){.on = true};
	for (int mode = 0; mode < (verdict ? INJECT_MODES : INJECT_VERDICT); mode++) {
		int rc = inject_try((enum inject_mode)mode);
		if (rc < 0) {
			ret->on = false;
			snprintf(ret->why_not, sizeof(ret->why_not), "a map of sockets: %s", strerror(-rc));
			return;
		}
		ret->tried[mode] = true;
		ret->carries[mode] = (uint32_t)rc;
	}
	if (!(ret->carries[INJECT_PLAIN] & INJECT_READS) && !(ret->carries[INJECT_VERDICT] & INJECT_READS)) {
		ret->on = false;
		snprintf(ret->why_not, sizeof(ret->why_not), "sockets in a map are not read as others are");
	}
}

void inject_json(const struct inject_status *s, struct sbuf *out)
{
	sbuf_addf(out, "\"on\":%s,\"why_not\":", s->on ? "true" : "false");
	sbuf_add_json(out, sv_of(s->why_not));
	for (int mode = 0; mode < INJECT_MODES; mode++) {
		struct sbuf lacks = {0};
		inject_explain(s, (enum inject_mode)mode, &lacks);
		sbuf_addf(out, ",\"%s_lacks\":", inject_mode_name((enum inject_mode)mode));
		if (s->tried[mode])
			sbuf_add_json(out, sbuf_sv(&lacks));
		else
			sbuf_adds(out, "null");
		sbuf_release(&lacks);
	}
}

void inject_explain(const struct inject_status *s, enum inject_mode mode, struct sbuf *out)
{
	static const struct {
		uint32_t what;
		const char *words;
	} all[] = {
		{INJECT_READS, "reading"},
		{INJECT_ASKS, "FIONREAD"},
		{INJECT_SPLICES, "splice from the socket"},
		{INJECT_WAITS, "MSG_WAITALL"},
		{INJECT_BLOCKS, "reads that wait"},
	};
	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (!(s->carries[mode] & all[i].what)) {
			sbuf_adds(out, out->len ? ", " : "");
			sbuf_adds(out, all[i].words);
		}
}
