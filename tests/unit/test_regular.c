/* SPDX-License-Identifier: Apache-2.0 */
#include "target_help.h"

#include <sys/mount.h>
#include <sys/sysmacros.h>

#include "base/regular.h"

static int root_fd = -1;

static int make_root(void **state)
{
	if (make_test_dir(state) < 0)
		return -1;
	assert_int_equal(mkdir(in_dir("root"), 0755), 0);
	assert_int_equal(mkdir(in_dir("root/etc"), 0755), 0);
	root_fd = open(in_dir("root"), O_PATH | O_DIRECTORY | O_CLOEXEC);
	return root_fd < 0 ? -1 : 0;
}

static int remove_root(void **state)
{
	close(root_fd);
	return remove_test_dir(state);
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

/* What is read of it, or the error. */
static const char *in_root(const char *path)
{
	static char text[64];
	int fd = -1, rc = regular_open_in_root(root_fd, path, &fd);
	if (rc < 0) {
		assert_int_equal(fd, -1);
		snprintf(text, sizeof(text), "%s", strerrorname_np(-rc));
		return text;
	}
	assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ssize_t n = read(fd, text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = '\0';
	close(fd);
	return text;
}

/* Every way out that a link can name leads back in. */
static void test_links(void **state)
{
	(void)state;
	put(in_dir("outside"), "outside");
	put(in_dir("root/etc/inside"), "inside");
	assert_string_equal(in_root("/etc/inside"), "inside");
	assert_string_equal(in_root("etc/inside"), "inside");
	assert_string_equal(in_root("/etc/../../../etc/inside"), "inside");
	assert_string_equal(in_root("/../outside"), "ENOENT");
	assert_int_equal(symlink("/etc/inside", in_dir("root/absolute")), 0);
	assert_string_equal(in_root("/absolute"), "inside");
	assert_int_equal(symlink("../../../../../../../../etc/inside", in_dir("root/etc/upwards")), 0);
	assert_string_equal(in_root("/etc/upwards"), "inside");
	assert_int_equal(symlink("../../outside", in_dir("root/etc/out")), 0);
	assert_string_equal(in_root("/etc/out"), "ENOENT");
	/* A folder on the way counts as much as the last name. */
	assert_int_equal(symlink(test_dir, in_dir("root/folder")), 0);
	assert_string_equal(in_root("/folder/outside"), "ENOENT");
	assert_int_equal(symlink("../..", in_dir("root/etc/up")), 0);
	assert_string_equal(in_root("/etc/up/outside"), "ENOENT");
	assert_int_equal(symlink("loop", in_dir("root/loop")), 0);
	assert_string_equal(in_root("/loop"), "ELOOP");
	assert_string_equal(in_root(""), "ENOENT");
}

/* What /proc/PID/root and /proc/PID/fd of another process are, inside a container that has /proc. */
static void test_magic_links(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(mkdir(in_dir("root/proc"), 0755), 0);
	if (mount("proc", in_dir("root/proc"), "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0) {
		print_message("proc cannot be mounted here: %s\n", strerror(errno));
		return;
	}
	char path[512];
	put(in_dir("outside"), "outside");
	snprintf(path, sizeof(path), "/proc/%d/root%s", getpid(), in_dir("outside"));
	const char *by_root = strdup(in_root(path));
	snprintf(path, sizeof(path), "/proc/%d/cwd/../etc/passwd", getpid());
	const char *by_cwd = strdup(in_root(path));
	assert_int_equal(umount2(in_dir("root/proc"), MNT_DETACH), 0);
	assert_string_equal(by_root, "ELOOP");
	assert_string_equal(by_cwd, "ELOOP");
	free((void *)by_root);
	free((void *)by_cwd);
}

/* A FIFO whose other end nobody opens; a device of a driver that is not there, whose open(2) would say ENXIO. */
static void test_special_files(void **state)
{
	(void)state;
	assert_int_equal(mkfifo(in_dir("root/fifo"), 0644), 0);
	assert_string_equal(in_root("/fifo"), "EINVAL");
	assert_string_equal(in_root("/etc"), "EINVAL");
	if (mknod(in_dir("root/device"), S_IFCHR | 0600, makedev(254, 200)) == 0)
		assert_string_equal(in_root("/device"), "EINVAL");
	int fd = -1;
	assert_int_equal(regular_open_at(root_fd, "fifo", &fd), -EINVAL);
}

static void test_one_component(void **state)
{
	(void)state;
	int fd = -1;
	put(in_dir("root/plain"), "x");
	assert_int_equal(symlink("plain", in_dir("root/link")), 0);
	assert_int_equal(regular_open_at(root_fd, "link", &fd), -ELOOP);
	assert_int_equal(regular_open_at(root_fd, "absent", &fd), -ENOENT);
	assert_int_equal(regular_open_at(root_fd, "plain", &fd), 0);
	close(fd);
}

/* A link that is turned round while it is followed, in and out, ends inside each time. */
static void test_race(void **state)
{
	(void)state;
	enum { ROUNDS = 20000 };
	put(in_dir("outside"), "outside");
	put(in_dir("root/etc/inside"), "inside");
	assert_int_equal(mkdir(in_dir("root/a"), 0755), 0);
	put(in_dir("root/a/outside"), "mine");
	pid_t pid = fork();
	if (pid == 0) {
		char a[512], b[512];
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		snprintf(a, sizeof(a), "%s", in_dir("root/a"));
		snprintf(b, sizeof(b), "%s", in_dir("root/b"));
		if (symlink("../", b) < 0)
			_exit(1);
		for (;;)
			renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE);
	}
	unsigned mine = 0;
	char wrong[64] = "";
	for (int i = 0; i < ROUNDS && !*wrong; i++) {
		const char *got = in_root("/a/outside");
		mine += !strcmp(got, "mine");
		if (strcmp(got, "mine") != 0 && strcmp(got, "ENOENT") != 0 && strcmp(got, "EAGAIN") != 0)
			snprintf(wrong, sizeof(wrong), "%s", got);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_string_equal(wrong, "");
	assert_true(mine > 0);
}

int main(void)
{
#define IN_ROOT(test) cmocka_unit_test_setup_teardown(test, make_root, remove_root)
	const struct CMUnitTest tests[] = {
		IN_ROOT(test_links),	     IN_ROOT(test_magic_links), IN_ROOT(test_special_files),
		IN_ROOT(test_one_component), IN_ROOT(test_race),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
