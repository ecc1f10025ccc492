/* SPDX-License-Identifier: Apache-2.0 */
/* The cgroup's limit, as each version and a container show it; and of the cgroup that this test runs in. */
#include "target_help.h"

#include "base/memory.h"
#include "base/resident.h"

static void write_in(const char *folder, const char *name, const char *text)
{
	char path[512] = "";
	/* Folders come into being on the way. */
	for (const char *at = folder; *at;) {
		at += strcspn(at, "/");
		snprintf(path, sizeof(path), "%s/%.*s", test_dir, (int)(at - folder), folder);
		mkdir(path, 0755);
		at += *at == '/';
	}
	write_text(in_dir("%s/%s", folder, name), text);
}

/* One cgroup: its files in the words of a version. */
static void write_cgroup(int version, const char *folder, const char *limit, const char *usage, const char *inactive)
{
	char stat[128];
	snprintf(stat, sizeof(stat), "cache 1\n%sinactive_file %s\nunevictable 0\n",
		 version == 1 ? "inactive_file 7\ntotal_" : "", inactive);
	write_in(folder, version == 1 ? "memory.limit_in_bytes" : "memory.max", limit);
	write_in(folder, version == 1 ? "memory.usage_in_bytes" : "memory.current", usage);
	write_in(folder, "memory.stat", stat);
}

static struct memory_limit limit_of(const char *proc_self, uint64_t wanted)
{
	struct memory_limit m;
	write_in("", "proc_self", proc_self);
	assert_int_equal(memory_limit_init(&m, wanted, in_dir("proc_self"), in_dir("cg")), 0);
	return m;
}

static void test_v2(void **state)
{
	(void)state;
	write_cgroup(2, "cg/kubepods", "400000000\n", "90000000\n", "1000000");
	write_cgroup(2, "cg/kubepods/pod1", "200000000\n", "80000000\n", "2000000");
	write_cgroup(2, "cg/kubepods/pod1/us", "max\n", "30000000\n", "3000000");
	struct memory_limit m = limit_of("0::/kubepods/pod1/us\n", 0);
	assert_int_equal(m.bytes, 200000000); /* of those above it the tightest, and what that one takes */
	assert_int_equal(memory_used(&m), 78000000);
	write_cgroup(2, "cg/kubepods/pod1", "200000000\n", "1000000\n", "2000000");
	assert_int_equal(memory_used(&m), 0); /* the two files are not of one moment */
	memory_limit_release(&m);
	write_cgroup(2, "cg/kubepods/pod1/us", "100000000\n", "30000000\n", "3000000");
	m = limit_of("0::/kubepods/pod1/us\n", 0);
	assert_int_equal(m.bytes, 100000000);
	assert_int_equal(memory_used(&m), 27000000);
	memory_limit_release(&m);
}

/* A container's own cgroup is the root that it sees; systemd's hierarchy beside the memory controller's is no place to look. */
static void test_v1_and_containers(void **state)
{
	(void)state;
	write_cgroup(1, "cg/memory", "9223372036854771712\n", "500000000\n", "5");
	write_cgroup(1, "cg/memory/docker/1", "64000000\n", "20000000\n", "4000000");
	struct memory_limit m = limit_of("9:name=systemd:/x\n4:memory:/docker/1\n1:cpu:/\n0::/docker/1\n", 0);
	assert_int_equal(m.bytes, 64000000);
	assert_int_equal(memory_used(&m), 16000000); /* its children's pages, too: total_inactive_file */
	memory_limit_release(&m);
	m = limit_of("4:memory:/\n", 0);
	assert_int_equal(m.bytes, 0);
	assert_null(m.usage);
	memory_limit_release(&m);
	write_cgroup(2, "cg", "50000000\n", "20000000\n", "0");
	m = limit_of("0::/\n", 0);
	assert_int_equal(m.bytes, 50000000);
	memory_limit_release(&m);
}

static void test_none(void **state)
{
	(void)state;
	static const char *const texts[] = {"",	   "0::/not/there\n",	"nonsense", "4:memory", "\n\n",
					    "0::", "12:cpu,memory:/a\n"};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct memory_limit m = limit_of(texts[i], 0);
		assert_null(m.usage);
		assert_in_range(memory_used(&m), 100000, 1000000000); /* resident memory */
		memory_limit_release(&m);
	}
	/* What was asked for is the limit, whatever there is. */
	write_cgroup(2, "cg/a", "100000000\n", "30000000\n", "0");
	struct memory_limit m = limit_of("0::/a\n", 70000000);
	assert_int_equal(m.bytes, 70000000);
	assert_null(m.usage);
	memory_limit_release(&m);
	assert_int_equal(memory_limit_init(&m, 0, in_dir("no-such-file"), in_dir("cg")), 0);
	assert_int_equal(m.bytes, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_v2, make_test_dir, remove_test_dir),
		cmocka_unit_test_setup_teardown(test_v1_and_containers, make_test_dir, remove_test_dir),
		cmocka_unit_test_setup_teardown(test_none, make_test_dir, remove_test_dir),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
