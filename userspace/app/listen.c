/* SPDX-License-Identifier: Apache-2.0 */
#include "app/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/confine.h"

#define BACKLOG 16

static bool somebody_answers(const struct sockaddr_un *address)
{
	__cleanup(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	return fd >= 0 && (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN);
}

static int listen_at(const struct sockaddr *address, socklen_t len)
{
	int one = 1;
	__cleanup(closep) int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (address->sa_family != AF_UNIX)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	/* Of the mode it will have from the first moment on. */
	mode_t before = umask(0177);
	int rc = bind(fd, address, len) < 0 ? -errno : 0;
	umask(before);
	if (rc == 0 && listen(fd, BACKLOG) < 0)
		rc = -errno;
	return rc < 0 ? rc : move_fd(fd);
}

int listen_unix(const char *path, struct sbuf *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char folder[PATH_MAX];
	struct stat st;
	if (snprintf(address.sun_path, sizeof(address.sun_path), "%s", path) >= (int)sizeof(address.sun_path)) {
		sbuf_addf(err, "the path of the socket %s is too long", path);
		return -ENAMETOOLONG;
	}
	snprintf(folder, sizeof(folder), "%s", path);
	mkdir(dirname(folder), 0755);
	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode)) {
		if (somebody_answers(&address)) {
			sbuf_addf(err, "somebody listens on %s already: does another spanhound run?", path);
			return -EADDRINUSE;
		}
		unlink(path);
	}
	confine_will_remove(path);
	int fd = listen_at((struct sockaddr *)&address, sizeof(address));
	if (fd < 0)
		sbuf_addf(err, "cannot listen on %s: %s", path, strerror(-fd));
	return fd;
}

int listen_loopback(const char *address, struct sbuf *err)
{
	const char *colon = strrchr(address, ':');
	uint16_t port = colon ? htons((uint16_t)strtoul(colon + 1, NULL, 10)) : 0;
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = port, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = port, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	bool six = address[0] == '[';
	int fd = six ? listen_at((struct sockaddr *)&v6, sizeof(v6)) : listen_at((struct sockaddr *)&v4, sizeof(v4));
	if (fd < 0)
		sbuf_addf(err, "cannot listen on %s: %s", address, strerror(-fd));
	return fd;
}
