/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TARGET_CONTAINER_H
#define TARGET_CONTAINER_H

#include "base/sv.h"

/* Which container and which systemd unit a process is in, out of /proc/PID/cgroup (cgroups(7)): cgroup v1, v2, and both
 * at once. Pure: slices of the text come out.
 *
 * The container is what the tracers and the Agent would say: the first line whose path ends in 64 hex digits, in 32 hex
 * digits, '-' and a number (ECS), in a UUID with '-' or '_', or in Garden's 8-4-4-4-4; a ".scope" may follow all but the
 * last (dd-trace-go internal/container_linux.go, dd-trace-py ddtrace/internal/runtime/container.py). Beyond that rule:
 *   - a process in a cgroup below its container's, as systemd or crun make them (".../crio-ID.scope/container"), is in
 *     the container: of the components that hold 64 hex digits the deepest counts;
 *   - what is called conmon is the runtime's watcher outside of the container, and "podUUID" a pod. */
struct container {
	struct sv id;	/* empty: none */
	struct sv pod;	/* Kubernetes' pod uid as it stands there ('_' for '-' below systemd); empty: none */
	struct sv unit; /* the innermost systemd service or scope that is not a container's; empty: none */
	/* Who made it where the path says so: "docker", "containerd", "cri-o", "podman", "ecs", "garden", else "". */
	const char *runtime;
};

/* Whether there is a container; *ret is filled in any case. */
bool container_parse(struct sv cgroup, struct container *ret);

#endif
