/* SPDX-License-Identifier: Apache-2.0 */
/* /proc/PID/cgroup as real systems write it. */
#include "target_help.h"

#include "target/container.h"

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define POD64 "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
#define UID   "3d274242-8ee0-11e9-a8a6-1e68d864ef1a"
#define UID_  "3d274242_8ee0_11e9_a8a6_1e68d864ef1a"
#define ECS   "432624d2150b349fe35ba397284dea78"

static const struct {
	const char *text, *id, *pod, *unit, *runtime;
} cases[] = {
	/* Docker: cgroupfs and systemd driver, v1 and v2, with and without a cgroup of its own inside. */
	{"13:name=systemd:/docker/" HEX64 "\n12:pids:/docker/other", HEX64, "", "", "docker"},
	{"0::/docker/" HEX64 "\n", HEX64, "", "", "docker"},
	{"0::/system.slice/docker-" HEX64 ".scope", HEX64, "", "", "docker"},
	{"0::/docker/" HEX64 "/init", HEX64, "", "", "docker"},
	{"0::/system.slice/docker-" HEX64 ".scope/system.slice/nginx.service", HEX64, "", "nginx.service", "docker"},
	{"0::/user.slice/user-1000.slice/user@1000.service/user.slice/docker-" HEX64 ".scope", HEX64, "", "", "docker"},
	/* Hybrid: the id in the v1 lines, systemd's hierarchy, nothing in v2; and the other way round. */
	{"12:cpu,cpuacct:/docker/" HEX64 "\n1:name=systemd:/docker/" HEX64 "\n0::/system.slice/containerd.service",
	 HEX64, "", "containerd.service", "docker"},
	{"4:memory:/\n1:name=systemd:/\n0::/system.slice/docker-" HEX64 ".scope", HEX64, "", "", "docker"},
	/* Docker in a Kubernetes node that is itself a container (kind). */
	{"0::/docker/" POD64 "/kubelet/kubepods/burstable/pod" UID "/" HEX64, HEX64, UID, "", ""},
	/* Kubernetes: cgroupfs driver; systemd driver of containerd and CRI-O; containerd's form without its driver. */
	{"11:perf_event:/kubepods/test/pod" UID "/" HEX64, HEX64, UID, "", ""},
	{"1:name=systemd:/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" UID_
	 ".slice/cri-containerd-" HEX64 ".scope\n",
	 HEX64, UID_, "", "containerd"},
	{"0::/kubepods.slice/kubepods-pod" UID_ ".slice/crio-" HEX64 ".scope", HEX64, UID_, "", "cri-o"},
	{"0::/kubepods.slice/kubepods-pod" UID_ ".slice/crio-" HEX64 ".scope/container", HEX64, UID_, "", "cri-o"},
	{"0::/system.slice/containerd.service/kubepods-burstable-pod" UID_ ".slice:cri-containerd:" HEX64, HEX64, UID_,
	 "", "containerd"},
	{"0::/kubepods/besteffort/pod" ECS "/" HEX64, HEX64, ECS, "", ""}, /* a static pod: a hash of its file */
	{"0::/../../kubepods-besteffort-pod" UID_ ".slice/cri-containerd-" HEX64 ".scope", HEX64, UID_, "",
	 "containerd"},
	/* The pod itself, and the watchers of containers, are none. */
	{"0::/kubepods/besteffort/pod" UID, "", UID, "", ""},
	{"0::/kubepods.slice/kubepods-pod" UID_ ".slice", "", UID_, "", ""},
	{"0::/kubepods.slice/kubepods-pod" UID_ ".slice/crio-conmon-" HEX64 ".scope", "", UID_, "", ""},
	{"0::/machine.slice/libpod-conmon-" HEX64 ".scope", "", "", "", ""},
	/* podman: root, rootless, in a pod, cgroupfs, split cgroups in a unit. */
	{"0::/machine.slice/libpod-" HEX64 ".scope", HEX64, "", "", "podman"},
	{"0::/machine.slice/libpod-" HEX64 ".scope/container", HEX64, "", "", "podman"},
	{"0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" HEX64 ".scope/container", HEX64, "", "",
	 "podman"},
	{"0::/machine.slice/machine-libpod_pod_" POD64 ".slice/libpod-" HEX64 ".scope", HEX64, "", "", "podman"},
	{"4:memory:/libpod_parent/" POD64 "/" HEX64, HEX64, "", "", ""},
	{"4:memory:/libpod_parent/libpod-" HEX64, HEX64, "", "", "podman"},
	{"0::/system.slice/shop.service/libpod-payload-" HEX64, HEX64, "", "", "podman"},
	/* ECS, Fargate, Cloud Foundry. */
	{"9:perf_event:/ecs/test-ecs-classic/5a0d5ceddf6c44c1928d367a815d890f/" HEX64, HEX64, "", "", "ecs"},
	{"11:hugetlb:/ecs/55091c13-b8cf-4801-b527-f4601742204d/" ECS "-1234567890", ECS "-1234567890", "", "", "ecs"},
	{"1:name=systemd:/ecs/" ECS "-1234567890.scope", ECS "-1234567890", "", "", "ecs"},
	{"10:hugetlb:/2d3da189-6407-48e3-9ab6-78188d75e609", "2d3da189-6407-48e3-9ab6-78188d75e609", "", "", ""},
	{"10:hugetlb:/x/" UID_ ".scope", UID_, "", "", ""},
	{"1:name=systemd:/system.slice/garden.service/garden/6f265890-5165-7fab-6b52-18d1",
	 "6f265890-5165-7fab-6b52-18d1", "", "", "garden"},
	/* Units. */
	{"0::/system.slice/nginx.service\n", "", "", "nginx.service", ""},
	{"0::/system.slice/system-php\\x2dfpm.slice/php-fpm@8.2.service", "", "", "php-fpm@8.2.service", ""},
	{"0::/user.slice/user-1000.slice/session-2.scope", "", "", "session-2.scope", ""},
	{"0::/user.slice/user-1000.slice/user@1000.service/app.slice/shop.service/workers", "", "", "shop.service", ""},
	{"4:memory:/system.slice/wrong.service\n1:name=systemd:/system.slice/right.service\n", "", "", "right.service",
	 ""},
	{"1:name=systemd:/system.slice/right.service\n4:memory:/system.slice/wrong.service\n0::/", "", "",
	 "right.service", ""},
	{"0::/init.scope", "", "", "init.scope", ""},
	/* What is none of it. */
	{"", "", "", "", ""},
	{"0::/", "", "", "", ""},
	{"4:memory:/process_api/c7770a8d1a527ebacbd9062e27aecafb", "", "", "", ""},
	{"1:cpu:/ecs/" ECS "-", "", "", "", ""},
	{"1:cpu:/docker/0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF", "", "", "", ""},
	{HEX64, "", "", "", ""},
	{"junk\n::\n0:\nx:y:/" HEX64 "\n5:cpu:/a/" HEX64, HEX64, "", "", ""},
	{"3:cpu:/docker/\xff" HEX64 "  \n", HEX64, "", "", ""},
	{"3:cpu:/docker/" HEX64 "/" POD64, POD64, "", "", ""},
};

static void test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct container c;
		bool is = container_parse(sv_of(cases[i].text), &c);
		if (!sv_eq(c.id, sv_of(cases[i].id)) || !sv_eq(c.pod, sv_of(cases[i].pod)) ||
		    !sv_eq(c.unit, sv_of(cases[i].unit)) || strcmp(c.runtime, cases[i].runtime) != 0 ||
		    is != (c.id.len > 0))
			fail_msg("%s: id '" SV_FMT "' pod '" SV_FMT "' unit '" SV_FMT "' runtime '%s'", cases[i].text,
				 SV_ARG(c.id), SV_ARG(c.pod), SV_ARG(c.unit), c.runtime);
	}
}

/* Every beginning of every text: nothing outside of it is looked at (with SAN=address), and an id is never longer. */
static void test_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t whole = strlen(cases[i].text);
		for (size_t len = 0; len <= whole; len++) {
			char *copy = malloc(len ? len : 1);
			struct container c;
			memcpy(copy, cases[i].text, len);
			container_parse((struct sv){copy, len}, &c);
			assert_true(!c.id.len || (c.id.data >= copy && c.id.data + c.id.len <= copy + len));
			free(copy);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
