/* SPDX-License-Identifier: Apache-2.0 */
#include "target_help.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "target/sockets.h"

static uint64_t inode_of(int fd)
{
	struct stat st;
	assert_int_equal(fstat(fd, &st), 0);
	return st.st_ino;
}

static int listen_on(int family, struct sockaddr_storage *ret, socklen_t *ret_len)
{
	int fd = socket(family, SOCK_STREAM, 0);
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	memset(ret, 0, sizeof(*ret));
	*ret_len = family == AF_INET ? sizeof(v4) : sizeof(v6);
	memcpy(ret, family == AF_INET ? (void *)&v4 : (void *)&v6, *ret_len);
	assert_int_equal(bind(fd, (struct sockaddr *)ret, *ret_len), 0);
	assert_int_equal(listen(fd, 4), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)ret, ret_len), 0);
	return fd;
}

static int connect_to(const struct sockaddr_storage *to, socklen_t len)
{
	int fd = socket(to->ss_family, SOCK_STREAM, 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)to, len), 0);
	return fd;
}

struct seen {
	int fds[16];
	unsigned cnt, stop_at;
};

static bool note(void *arg, int fd, uint64_t inode)
{
	struct seen *s = arg;
	assert_int_equal(inode, inode_of(fd));
	assert_true(s->cnt < 16);
	s->fds[s->cnt++] = fd;
	return s->cnt == s->stop_at;
}

static bool has(const struct seen *s, int fd)
{
	for (unsigned i = 0; i < s->cnt; i++)
		if (s->fds[i] == fd)
			return true;
	return false;
}

static void look(struct seen *s)
{
	struct proc p = PROC_INIT;
	s->cnt = 0;
	assert_int_equal(proc_open(&p, "/proc", getpid()), 0);
	assert_int_equal(sockets_clients(&p, note, s), 0);
	proc_close(&p);
}

static void test_clients(void **state)
{
	(void)state;
	struct seen s = {0};
	struct sockaddr_storage to;
	socklen_t len;
	int families[] = {AF_INET, AF_INET6}, pair[2];
	look(&s);
	assert_int_equal(s.cnt, 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	int datagrams = socket(AF_INET, SOCK_DGRAM, 0), idle = socket(AF_INET, SOCK_STREAM, 0);
	for (int i = 0; i < 2; i++) {
		int listener = listen_on(families[i], &to, &len), client = connect_to(&to, len), copy = dup(client),
		    accepted = accept(listener, NULL, NULL);
		look(&s);
		assert_int_equal(s.cnt, 2);
		assert_true(has(&s, client) && has(&s, copy));
		close(copy);
		/* Who accepted it cannot be told any more. */
		close(listener);
		look(&s);
		assert_int_equal(s.cnt, 2);
		assert_true(has(&s, client) && has(&s, accepted));
		s.stop_at = 1;
		look(&s);
		assert_int_equal(s.cnt, 1);
		s.stop_at = 0;
		/* Half closed: no more requests, or no more answers. */
		shutdown(client, SHUT_WR);
		look(&s);
		assert_int_equal(s.cnt, 0);
		close(client);
		close(accepted);
	}
	close(pair[0]);
	close(pair[1]);
	close(datagrams);
	close(idle);
}

static void test_each(void **state)
{
	(void)state;
	struct seen s = {0};
	struct proc p = PROC_INIT;
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(proc_open(&p, "/proc", getpid()), 0);
	assert_int_equal(sockets_each(&p, note, &s), 0);
	assert_int_equal(s.cnt, 2);
	assert_true(has(&s, pair[0]) && has(&s, pair[1]));
	proc_close(&p);
	assert_true(sockets_each(&p, note, &s) < 0);
	close(pair[0]);
	close(pair[1]);
}

static void test_gone(void **state)
{
	(void)state;
	struct seen s = {0};
	struct proc p = PROC_INIT;
	pid_t pid = fork();
	if (!pid)
		pause();
	assert_int_equal(proc_open(&p, "/proc", pid), 0);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(sockets_clients(&p, note, &s), -ESRCH);
	assert_int_equal(s.cnt, 0);
	proc_close(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clients),
		cmocka_unit_test(test_each),
		cmocka_unit_test(test_gone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
