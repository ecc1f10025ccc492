/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_CONTAINER_RUNTIME_H
#define APP_CONTAINER_RUNTIME_H

#include "base/sbuf.h"
#include "target/containers.h"

/* Asks a container runtime's socket (Docker's API; podman answers it, too) for what target/containers.h wants to know, on
 * a thread of its own: a socket that hangs costs nobody but that thread its time. */
struct container_runtime;

#define RUNTIME_TIMEOUT_NS (2ULL * 1000000000) /* of one question */

/* `socket` is unix:///PATH; NULL: DOCKER_HOST when it names a socket, else the first there is of /var/run/docker.sock and
 * /run/podman/podman.sock; *ret is NULL when there is none. 0, -EINVAL with a sentence in err, -ENOMEM, -errno. */
int container_runtime_start(struct container_runtime **ret, const char *socket, struct sbuf *err);
void container_runtime_stop(
	struct container_runtime *r); /* NULL is fine; waits for a question under way, as long as that may take */

/* The table, for matching. It lives until container_runtime_stop(). */
struct containers *container_runtime_containers(struct container_runtime *r);
/* Readable (an eventfd) once answers came: look at the processes again. */
int container_runtime_fd(const struct container_runtime *r);
/* Whose answers: "/run/podman/podman.sock". */
const char *container_runtime_shown(const struct container_runtime *r);

#endif
