/* SPDX-License-Identifier: Apache-2.0 */
#include "target/sockets.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/vec.h"
#include "target/text.h"

#define PORT_HTTPS 443

int sockets_each(struct proc *p, bool (*found)(void *arg, int fd, uint64_t inode), void *arg)
{
	__cleanup(closep) int fd = openat(p->dir, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	if (!d)
		return proc_error(p, errno);
	fd = -1;
	while ((e = readdir(d))) {
		char link[64];
		uint64_t inode, number;
		ssize_t n = readlinkat(dirfd(d), e->d_name, link, sizeof(link));
		if (n <= 8 || n >= (ssize_t)sizeof(link) || memcmp(link, "socket:[", 8) != 0)
			continue;
		struct sv digits = {link + 8, (size_t)n - 8}, name = sv_of(e->d_name);
		if (!text_u64(&digits, 10, &inode) || !text_u64(&name, 10, &number) || number > INT32_MAX)
			continue;
		if (found(arg, (int)number, inode))
			break;
	}
	closedir(d);
	return 0;
}

struct connected {
	uint64_t inode;
	uint16_t port; /* its own */
};

struct clients {
	VEC(struct connected) sockets; /* by inode */
	uint8_t listened[65536 / 8];   /* bit per port */
	bool (*found)(void *arg, int fd, uint64_t inode);
	void *arg;
};

static int by_inode(const void *a, const void *b)
{
	const struct connected *x = a, *y = b;
	return x->inode < y->inode ? -1 : x->inode > y->inode;
}

static int read_table(struct clients *c, struct proc *p, const char *name)
{
	__cleanup(closep) int fd = openat(p->dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno; /* no IPv6 */
	__cleanup(fclosep) FILE *f = fdopen(fd, "r");
	char line[512];
	if (!f)
		return -errno;
	fd = -1;
	while (fgets(line, sizeof(line), f)) {
		struct tcp_line t;
		if (!tcp_parse(sv_of(line), &t))
			continue;
		if (t.state == TCP_LINE_LISTENS)
			c->listened[t.port / 8] |= (uint8_t)(1 << t.port % 8);
		else if (t.state == TCP_LINE_ESTABLISHED && t.inode && t.peer_port != PORT_HTTPS &&
			 c->sockets.cnt < SOCKETS_MAX &&
			 vec_push(&c->sockets, ((struct connected){.inode = t.inode, .port = t.port})))
			return -ENOMEM;
	}
	return 0;
}

static bool is_client(void *arg, int fd, uint64_t inode)
{
	struct clients *c = arg;
	struct connected key = {.inode = inode};
	const struct connected *s = bsearch(&key, c->sockets.data, c->sockets.cnt, sizeof(key), by_inode);
	return s && !(c->listened[s->port / 8] & 1 << s->port % 8) && c->found(c->arg, fd, inode);
}

static bool is_any(void *arg, int fd, uint64_t inode)
{
	(void)fd;
	(void)inode;
	return *(bool *)arg = true;
}

int sockets_clients(struct proc *p, bool (*found)(void *arg, int fd, uint64_t inode), void *arg)
{
	struct clients c = {.found = found, .arg = arg};
	bool any = false;
	/* The table is the whole namespace's, and may be long. */
	int rc = sockets_each(p, is_any, &any);
	if (rc < 0 || !any)
		return rc;
	rc = read_table(&c, p, "net/tcp");
	rc = rc < 0 ? rc : read_table(&c, p, "net/tcp6");
	if (rc == 0 && c.sockets.cnt) {
		qsort(c.sockets.data, c.sockets.cnt, sizeof(*c.sockets.data), by_inode);
		rc = sockets_each(p, is_client, &c);
	}
	vec_release(&c.sockets);
	return rc < 0 ? proc_error(p, -rc) : 0;
}
