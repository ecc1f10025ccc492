/* SPDX-License-Identifier: Apache-2.0 */
#include "target/listeners.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "target/sockets.h"

struct listen_socket {
	uint64_t inode;
	uint16_t port;
};

struct listen_ns {
	uint64_t id;			   /* inode of the namespace */
	VEC(struct listen_socket) sockets; /* by inode */
};

static int by_inode(const void *a, const void *b)
{
	const struct listen_socket *x = a, *y = b;
	return x->inode < y->inode ? -1 : x->inode > y->inode;
}

void listeners_release(struct listeners *l)
{
	for (size_t i = 0; i < l->cnt; i++)
		vec_release(&l->ns[i].sockets);
	free(l->ns);
	*l = (struct listeners){0};
}

/* Listening sockets come first in these files (tcp_get_idx() in net/ipv4/tcp_ipv4.c): the rest, which on a busy
 * machine is hundreds of thousands of lines, is not read. */
static int read_table(struct listeners *l, struct listen_ns *ns, struct proc *p, const char *name)
{
	__cleanup(closep) int fd = openat(p->dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno; /* no IPv6 */
	__cleanup(fclosep) FILE *f = fdopen(fd, "r");
	char line[512];
	if (!f)
		return -errno;
	fd = -1;
	for (bool header = true; fgets(line, sizeof(line), f); header = false) {
		struct listen_socket s;
		if (header)
			continue;
		if (!listen_parse(sv_of(line), &s.inode, &s.port))
			break;
		if (ns->sockets.cnt >= LISTENERS_MAX) {
			l->overflow++;
			continue;
		}
		if (vec_push(&ns->sockets, s))
			return -ENOMEM;
	}
	return 0;
}

static struct listen_ns *namespace_of(struct listeners *l, struct proc *p)
{
	uint64_t id;
	if (proc_namespace(p, "net", &id))
		return NULL;
	for (size_t i = 0; i < l->cnt; i++)
		if (l->ns[i].id == id)
			return &l->ns[i];
	struct listen_ns ns = {.id = id};
	int err = read_table(l, &ns, p, "net/tcp");
	if (!err)
		err = read_table(l, &ns, p, "net/tcp6");
	if (!err)
		err = vec_room((void **)&l->ns, l->cnt, &l->cap, 1, sizeof(*l->ns));
	if (err) {
		vec_release(&ns.sockets);
		proc_error(p, -err);
		return NULL;
	}
	if (ns.sockets.cnt)
		qsort(ns.sockets.data, ns.sockets.cnt, sizeof(*ns.sockets.data), by_inode);
	l->ns[l->cnt] = ns;
	return &l->ns[l->cnt++];
}

static bool contains(const struct int_vec *v, int value)
{
	for (size_t i = 0; i < v->cnt; i++)
		if (v->data[i] == value)
			return true;
	return false;
}

struct listening {
	const struct listen_ns *ns;
	bool (*found)(void *arg, uint16_t port);
	void *arg;
};

static bool listens(void *arg, int fd, uint64_t inode)
{
	const struct listening *l = arg;
	struct listen_socket key = {.inode = inode};
	const struct listen_socket *s = bsearch(&key, l->ns->sockets.data, l->ns->sockets.cnt, sizeof(key), by_inode);
	(void)fd;
	return s && l->found(l->arg, s->port);
}

/* Calls back for each listening socket the process holds, until that says stop. */
static int each_socket(struct listen_ns *ns, struct proc *p, bool (*found)(void *arg, uint16_t port), void *arg)
{
	struct listening l = {ns, found, arg};
	return sockets_each(p, listens, &l);
}

struct wanted {
	const struct int_vec *ports;
	bool found;
};

static bool is_wanted(void *arg, uint16_t port)
{
	struct wanted *w = arg;
	return w->found = contains(w->ports, port);
}

bool listeners_match(struct listeners *l, struct proc *p, const struct int_vec *ports)
{
	struct listen_ns *ns = namespace_of(l, p);
	struct wanted w = {.ports = ports};
	bool any = false;
	for (size_t i = 0; ns && i < ns->sockets.cnt && !any; i++)
		any = contains(ports, ns->sockets.data[i].port);
	if (any) /* else nobody there listens on it: its descriptors need not be looked at */
		each_socket(ns, p, is_wanted, &w);
	return w.found;
}

static bool is_any(void *arg, uint16_t port)
{
	(void)port;
	return *(bool *)arg = true;
}

bool listeners_any(struct listeners *l, struct proc *p)
{
	struct listen_ns *ns = namespace_of(l, p);
	bool found = false;
	if (ns && ns->sockets.cnt)
		each_socket(ns, p, is_any, &found);
	return found;
}

static bool note_port(void *arg, uint16_t port)
{
	struct int_vec *ports = arg;
	return !contains(ports, port) && vec_push(ports, port);
}

int listeners_ports(struct listeners *l, struct proc *p, struct int_vec *ret_ports)
{
	struct listen_ns *ns = namespace_of(l, p);
	if (!ns)
		return p->denied ? -EACCES : -ESRCH;
	return ns->sockets.cnt ? each_socket(ns, p, note_port, ret_ports) : 0;
}
