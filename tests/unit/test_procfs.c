/* SPDX-License-Identifier: Apache-2.0 */
#include "target_help.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

#include "target/maps.h"
#include "target/scan.h"

static void test_ourselves(void **state)
{
	(void)state;
	struct proc p = PROC_INIT;
	const struct proc_status *status;
	struct sv v;
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	self[n] = '\0';
	assert_int_equal(proc_open(&p, "/proc", getpid()), 0);
	assert_int_equal(p.ppid, getppid());
	assert_true(p.start_ticks > 0);
	assert_false(p.kernel_thread || p.zombie);
	assert_int_equal(proc_exe(&p, &v), 0);
	assert_sv(v, self);
	assert_false(p.exe_deleted);
	assert_int_equal(proc_status(&p, &status), 0);
	assert_int_equal(status->tgid, getpid());
	assert_int_equal(status->ppid, getppid());
	assert_int_equal(status->uid, getuid());
	assert_int_equal(status->threads, 1);
	assert_true(status->seccomp >= 0);
	assert_int_equal(proc_cwd(&p, &v), 0);
	assert_sv(v, getcwd(self, sizeof(self)));
	/* A second look at the same struct keeps nothing of the first. */
	assert_int_equal(proc_open(&p, "/proc", getppid()), 0);
	assert_int_equal(proc_status(&p, &status), 0);
	assert_int_equal(status->tgid, getppid());
	proc_close(&p);
	proc_close(&p);
	assert_int_equal(proc_exe(&p, &v), -ESRCH);
}

static void test_odd_names(void **state)
{
	(void)state;
	const char *names[] = {"a b", "x) R 1 (y", "new\nline", "back\\012slash", "tr\xc3\xa9s (deleted)"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct proc p = PROC_INIT;
		struct sv v;
		char path[512];
		snprintf(path, sizeof(path), "%s", in_dir("%s", names[i]));
		copy_file("/bin/sh", path);
		pid_t pid = SPAWN(path, path, "-c", "kill -STOP $$", "arg with\nnewline", "");
		assert_int_equal(proc_open(&p, "/proc", pid), 0);
		char comm[17];
		snprintf(comm, 16, "%s", names[i]);
		assert_sv(p.comm, comm);
		assert_int_equal(proc_exe(&p, &v), 0);
		assert_sv(v, path);
		assert_false(p.exe_deleted);
		assert_true(matches(SPEC(names, SV("sh")), pid) == false);
		assert_true(matches(SPEC(exes, sv_of(in_dir("*"))), pid));
		assert_true(matches(SPEC(cmdlines, SV("* arg with\nnewline")), pid));

		/* The same file deleted is still that executable, and its bytes can be had. */
		assert_int_equal(unlink(path), 0);
		int fd = -1;
		struct stat st;
		assert_int_equal(proc_open(&p, "/proc", pid), 0);
		assert_int_equal(proc_exe(&p, &v), 0);
		assert_sv(v, path);
		assert_true(p.exe_deleted);
		assert_int_equal(proc_open_exe(&p, &fd), 0);
		assert_int_equal(fstat(fd, &st), 0);
		assert_int_equal(st.st_nlink, 0);
		close(fd);
		proc_close(&p);
		reap(pid);
	}
}

static bool find_map(struct proc *p, const char *path, struct sbuf *text, struct proc_map *ret)
{
	if (maps_read(p, text))
		return false;
	struct maps_iter it = MAPS_ITER(text);
	while (maps_next(&it, ret))
		if (sv_eq(ret->path, sv_of(path)))
			return true;
	return false;
}

static ino_t inode_of(int fd)
{
	struct stat st;
	assert_int_equal(fstat(fd, &st), 0);
	return st.st_ino;
}

/* Opening what is mapped, by both ways; without map_files as a process with fewer rights would. */
static void test_maps_open(void **state)
{
	(void)state;
	struct proc p = PROC_INIT;
	struct sbuf text = {0};
	struct proc_map m;
	char path[512];
	int fd = -1;
	snprintf(path, sizeof(path), "%s", in_dir("new\nline prog"));
	copy_file("/bin/sleep", path);
	pid_t pid = SPAWN(path, "sleep", "1000");
	assert_int_equal(proc_open(&p, "/proc", pid), 0);
	assert_true(find_map(&p, path, &text, &m));
	assert_false(m.deleted);
	assert_true(m.end > m.start && m.offset % 4096 == 0);
	assert_int_equal(maps_open(&p, &m, &fd), 0);
	assert_int_equal(inode_of(fd), m.ino);
	close(fd);
	struct proc_map elsewhere = m;
	elsewhere.start += 4096 * 100000ULL; /* no such mapping: only the name is left */
	assert_int_equal(maps_open(&p, &elsewhere, &fd), 0);
	assert_int_equal(inode_of(fd), m.ino);
	close(fd);

	/* Replaced while running, as a package upgrade does. */
	copy_file("/bin/cat", in_dir("newer"));
	assert_int_equal(rename(in_dir("newer"), path), 0);
	assert_true(find_map(&p, path, &text, &m));
	assert_true(m.deleted);
	assert_int_equal(maps_open(&p, &m, &fd), 0);
	assert_int_equal(inode_of(fd), m.ino);
	close(fd);
	elsewhere = m;
	elsewhere.start += 4096 * 100000ULL;
	assert_int_equal(maps_open(&p, &elsewhere, &fd), -ESTALE);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(maps_open(&p, &elsewhere, &fd), -ENOENT);
	/* What has its name now must not be opened as if it were a file. */
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(maps_open(&p, &elsewhere, &fd), -ESTALE);
	reap(pid);
	assert_int_equal(maps_open(&p, &m, &fd), -ESRCH);
	assert_int_equal(maps_read(&p, &text), -ESRCH);
	proc_close(&p);
	sbuf_release(&text);
}

static void test_maps_text(void **state)
{
	(void)state;
	struct sbuf text = {0};
	struct proc_map m;
	sbuf_adds(&text, "00400000-00452000 r-xp 00001000 08:02 173521      /usr/bin/dbus daemon\n"
			 "00651000-00652000 r--p 00051000 08:02 173521      /usr/bin/dbus\n"
			 "00e03000-00e24000 rwxp 00000000 00:00 0           [heap]\n"
			 "7fff-7ffe r-xp 0 08:02 5 /backwards\n"
			 "garbage\n\n"
			 "a-b r-xp 0 08:02 5\n"
			 "c-d r-xs 0 fd:ff 99   /a\\012b\\0 (deleted)\n"
			 "e-f --xp ffffffffffffffff 00:01 18446744073709551615 /memfd:jit (deleted)\n"
			 "e-f r-xp 10000000000000000 00:01 7 /overflow\n"
			 "1-2 r-xp 0 08:02 5 /cut");
	struct maps_iter it = MAPS_ITER(&text);
	assert_true(maps_next(&it, &m));
	assert_sv(m.path, "/usr/bin/dbus daemon");
	assert_int_equal(m.start, 0x400000);
	assert_int_equal(m.end, 0x452000);
	assert_int_equal(m.offset, 0x1000);
	assert_int_equal(m.dev, makedev(8, 2));
	assert_int_equal(m.ino, 173521);
	assert_true(maps_next(&it, &m));
	assert_sv(m.path, "/a\nb\\0");
	assert_int_equal(m.path.data[m.path.len], 0);
	assert_true(m.deleted);
	assert_int_equal(m.dev, makedev(0xfd, 0xff));
	assert_true(maps_next(&it, &m));
	assert_sv(m.path, "/memfd:jit");
	assert_int_equal(m.ino, UINT64_MAX);
	assert_false(maps_next(&it, &m));
	struct sbuf empty = {0};
	it = MAPS_ITER(&empty);
	assert_false(maps_next(&it, &m));
	sbuf_release(&text);
}

/* Its own mount and PID namespace, its executable on a file system that only it sees. */
static void test_namespaces(void **state)
{
	(void)state;
	struct proc p = PROC_INIT;
	struct sbuf text = {0};
	struct proc_map m;
	const struct proc_status *status;
	struct sv exe;
	char script[1024];
	int fd = -1, child = 0;
	if (geteuid() != 0)
		skip();
	assert_int_equal(mkdir(in_dir("hidden"), 0755), 0);
	snprintf(script, sizeof(script),
		 "mount -t tmpfs none %s/hidden && cp /bin/sleep %s/hidden/inner && "
		 "exec %s/hidden/inner 1000",
		 test_dir, test_dir, test_dir);
	pid_t pid = SPAWN("unshare", "unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script);
	char children[64], line[32] = "";
	snprintf(children, sizeof(children), "/proc/%d/task/%d/children", pid, pid);
	assert_true(eventually(({
		FILE *f = fopen(children, "r");
		child = f && fgets(line, sizeof(line), f) ? atoi(line) : 0;
		if (f)
			fclose(f);
		child &&matches(SPEC(names, SV("inner")), child);
	})));
	assert_int_equal(proc_open(&p, "/proc", child), 0);
	assert_int_equal(proc_exe(&p, &exe), 0);
	assert_true(sv_eq(exe, sv_of(in_dir("hidden/inner"))));
	assert_int_not_equal(access(in_dir("hidden/inner"), F_OK), 0);
	assert_int_equal(proc_status(&p, &status), 0);
	assert_int_equal(status->ns_pid, 1);
	assert_int_equal(status->ns_depth, 1);
	uint64_t theirs, ours;
	struct stat st;
	assert_int_equal(proc_namespace(&p, "mnt", &theirs), 0);
	assert_int_equal(stat("/proc/self/ns/mnt", &st), 0);
	ours = st.st_ino;
	assert_true(theirs != ours);
	assert_true(find_map(&p, in_dir("hidden/inner"), &text, &m));
	assert_int_equal(maps_open(&p, &m, &fd), 0);
	assert_int_equal(inode_of(fd), m.ino);
	close(fd);
	m.start += 4096 * 100000ULL; /* through /proc/PID/root alone */
	assert_int_equal(maps_open(&p, &m, &fd), 0);
	assert_int_equal(inode_of(fd), m.ino);
	close(fd);
	proc_close(&p);
	sbuf_release(&text);
}

/* On overlayfs the numbers in maps are those of a file system that is not named anywhere else. */
static void test_overlayfs(void **state)
{
	(void)state;
	struct proc p = PROC_INIT;
	struct sbuf text = {0};
	struct proc_map m;
	char options[512];
	int fd = -1;
	static const char *const dirs[] = {"ov", "ov/lower", "ov/upper", "ov/work", "ov/merged"};
	if (geteuid() != 0)
		skip();
	assert_int_equal(mkdir(in_dir("ov"), 0755), 0);
	if (mount("none", in_dir("ov"), "tmpfs", 0, "") < 0)
		skip();
	for (size_t i = 1; i < 5; i++)
		assert_int_equal(mkdir(in_dir("%s", dirs[i]), 0755), 0);
	copy_file("/bin/sleep", in_dir("ov/lower/prog"));
	snprintf(options, sizeof(options), "lowerdir=%s/ov/lower,upperdir=%s/ov/upper,workdir=%s/ov/work", test_dir,
		 test_dir, test_dir);
	bool overlay = mount("overlay", in_dir("ov/merged"), "overlay", 0, options) == 0;
	if (overlay) {
		pid_t pid = SPAWN(in_dir("ov/merged/prog"), "prog", "1000");
		assert_int_equal(proc_open(&p, "/proc", pid), 0);
		assert_true(find_map(&p, in_dir("ov/merged/prog"), &text, &m));
		assert_int_equal(maps_open(&p, &m, &fd), 0);
		close(fd);
		m.start += 4096 * 100000ULL;
		assert_int_equal(maps_open(&p, &m, &fd), 0);
		close(fd);
		proc_close(&p);
		reap(pid);
		umount(in_dir("ov/merged"));
	}
	sbuf_release(&text);
	umount(in_dir("ov"));
	if (!overlay)
		skip();
}

static void test_kernel_threads_and_zombies(void **state)
{
	(void)state;
	struct proc p = PROC_INIT;
	struct sv v;
	if (proc_open(&p, "/proc", 2) == 0 && p.kernel_thread) { /* absent in a container */
		assert_int_equal(proc_exe(&p, &v), -ENOENT);
		assert_int_equal(proc_cmdline(&p, &v), 0);
		assert_int_equal(v.len, 0);
		assert_false(matches(SPEC(pids, 2), 2));
	}
	pid_t pid = fork();
	if (pid == 0)
		_exit(0);
	assert_true(eventually(proc_open(&p, "/proc", pid) == 0 && p.zombie));
	assert_int_equal(proc_exe(&p, &v), -ENOENT);
	assert_false(matches(SPEC(pids, pid), pid));
	waitpid(pid, NULL, 0);
	assert_int_equal(proc_exe(&p, &v), -ENOENT); /* kept from before */
	assert_int_equal(proc_environ(&p, &v), -ESRCH);
	assert_true(proc_gone(&p));
	assert_int_equal(proc_open(&p, "/proc", pid), -ESRCH);
	assert_int_equal(p.dir, -1);
	proc_close(&p);
}

static void *sleeper(void *arg)
{
	pause();
	return arg;
}

/* main() called pthread_exit(): the first thread is a zombie, the process lives on. */
static void test_leader_gone(void **state)
{
	(void)state;
	struct proc p = PROC_INIT;
	struct sv v;
	struct sbuf maps = {0};
	pid_t pid = fork();
	if (pid == 0) {
		pthread_t t;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pthread_create(&t, NULL, sleeper, NULL);
		pthread_exit(NULL);
	}
	spawned[spawned_cnt++] = pid;
	assert_true(eventually(proc_open(&p, "/proc", pid) == 0 && p.leader >= 0));
	assert_int_equal(p.pid, pid);
	assert_false(p.zombie);
	assert_int_equal(proc_exe(&p, &v), 0);
	assert_true(v.len > 0);
	assert_int_equal(maps_read(&p, &maps), 0);
	struct maps_iter it = MAPS_ITER(&maps);
	struct proc_map m;
	int fd = -1;
	assert_true(maps_next(&it, &m));
	assert_int_equal(maps_open(&p, &m, &fd), 0);
	close(fd);
	assert_true(matches(SPEC(pids, pid), pid));
	sbuf_release(&maps);
	proc_close(&p);
}

/* Processes that come and go while they are read: every answer is a fact or -ESRCH, and never another process's. */
static void test_vanishing(void **state)
{
	(void)state;
	struct proc p = PROC_INIT;
	size_t gone = 0, whole = 0;
	for (int i = 0; i < 400; i++) {
		struct sbuf maps = {0};
		struct sv v;
		const struct proc_status *status;
		struct container container;
		pid_t pid = fork();
		if (pid == 0) {
			usleep((useconds_t)(i % 20) * 20);
			_exit(0);
		}
		/* Half of them are reaped before they are looked at closely. */
		int err = proc_open(&p, "/proc", pid);
		if (i % 2)
			waitpid(pid, NULL, 0);
		assert_true(err == 0 || err == -ESRCH);
		int errs[] = {proc_exe(&p, &v),		proc_cmdline(&p, &v),		proc_environ(&p, &v),
			      proc_status(&p, &status), proc_container(&p, &container), maps_read(&p, &maps)};
		for (size_t e = 0; e < 6; e++) {
			/* A zombie has no executable and no memory. */
			assert_true(errs[e] == 0 || errs[e] == -ESRCH || (errs[e] == -ENOENT && e == 0));
			gone += errs[e] == -ESRCH;
			whole += errs[e] == 0;
		}
		if (!(i % 2))
			waitpid(pid, NULL, 0);
		sbuf_release(&maps);
	}
	assert_true(gone > 0 && whole > 0);
	proc_close(&p);
}

static void test_limits(void **state)
{
	(void)state;
	struct proc p = PROC_INIT;
	struct sv v, value;
	size_t big_len = 3 << 20;
	char *big = malloc(big_len);
	memset(big, 'x', big_len);
	memcpy(big, "A=1\0B=2", 8);
	assert_int_equal(mkdir(in_dir("proc"), 0755), 0);
	fake_process(in_dir("proc"), 7, "big", "/bin/big", big, big_len);
	write_file(in_dir("proc/7/environ"), big, big_len);
	char root[256];
	snprintf(root, sizeof(root), "%s", in_dir("proc"));
	assert_int_equal(proc_open(&p, root, 7), 0);
	assert_int_equal(proc_environ(&p, &v), 0);
	assert_int_equal(v.len, 8); /* the endless third one is cut off */
	assert_true(environ_get(v, "B", &value));
	assert_sv(value, "2");
	assert_int_equal(proc_cmdline(&p, &v), 0);
	assert_int_equal(v.len, 7);
	/* Things that are not files. */
	assert_int_equal(unlink(in_dir("proc/7/status")), 0);
	assert_int_equal(mkfifo(in_dir("proc/7/status"), 0600), 0);
	const struct proc_status *status;
	struct container container;
	assert_int_equal(proc_status(&p, &status), -EINVAL);
	assert_int_equal(unlink(in_dir("proc/7/cgroup")), 0);
	assert_int_equal(mkdir(in_dir("proc/7/cgroup"), 0755), 0);
	assert_int_equal(proc_container(&p, &container), -EISDIR);
	write_text(in_dir("proc/7/stat"), "nonsense");
	assert_int_equal(proc_open(&p, root, 7), -EINVAL);
	free(big);
	proc_close(&p);
}

/* Another user's process, without the right to look into it. */
static void test_denied(void **state)
{
	(void)state;
	int status;
	if (geteuid() != 0)
		skip();
	pid_t pid = SPAWN("sleep", "sleep", "1000");
	pid_t looker = fork();
	if (looker == 0) {
		struct proc p = PROC_INIT;
		struct sv v;
		if (setgid(65534) || setuid(65534))
			_exit(1);
		if (proc_open(&p, "/proc", pid))
			_exit(2);
		if (proc_exe(&p, &v) != -EACCES || !p.denied)
			_exit(3);
		if (proc_environ(&p, &v) != -EACCES)
			_exit(4);
		if (proc_cmdline(&p, &v) != 0 || !sv_eq(p.comm, SV("sleep")))
			_exit(5);
		if (!matches(SPEC(names, SV("sleep")), pid) || matches(SPEC(exes, SV("*sleep")), pid))
			_exit(6);
		struct target_spec spec = SPEC(exes, SV("*/no-such-thing"));
		struct scan s = {0};
		struct sbuf err = {0};
		if (scan_processes("/proc", &spec, 1, &s, &err) || s.cnt || !s.denied || s.denied > s.seen)
			_exit(7);
		scan_explain("/proc", &spec, s.denied, &err);
		if (!strstr(sbuf_str(&err), "could not be looked at: run as root"))
			_exit(8);
		_exit(0);
	}
	waitpid(looker, &status, 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* hidepid=1 shows the numbers and nothing else, hidepid=2 not even those. */
static void test_hidepid(void **state)
{
	(void)state;
	int status;
	if (geteuid() != 0)
		skip();
	pid_t pid = SPAWN("sleep", "sleep", "1000");
	assert_int_equal(mkdir(in_dir("hide"), 0755), 0);
	for (int level = 1; level <= 2; level++) {
		char options[32];
		snprintf(options, sizeof(options), "hidepid=%d", level);
		if (mount("proc", in_dir("hide"), "proc", 0, options) < 0)
			skip();
		char root[256];
		snprintf(root, sizeof(root), "%s", in_dir("hide"));
		pid_t looker = fork();
		if (looker == 0) {
			struct proc p = PROC_INIT;
			struct target_spec spec = SPEC(names, SV("sleep"));
			struct scan s = {0};
			struct sbuf err = {0};
			if (setgid(65534) || setuid(65534))
				_exit(1);
			if (proc_open(&p, root, pid) != (level == 1 ? -EACCES : -ESRCH))
				_exit(2);
			if (scan_processes(root, &spec, 1, &s, &err))
				_exit(3);
			_exit(s.cnt ? 4 : level == 1 && !s.denied ? 5 : 0);
		}
		waitpid(looker, &status, 0);
		umount(in_dir("hide"));
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 0);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_test_dir, end_test)

static int end_test(void **state)
{
	reap_all(state);
	umount2(in_dir("ov/merged"), MNT_DETACH);
	umount2(in_dir("ov"), MNT_DETACH);
	umount2(in_dir("hide"), MNT_DETACH);
	return remove_test_dir(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_ourselves),
		TEST(test_odd_names),
		TEST(test_maps_open),
		TEST(test_maps_text),
		TEST(test_namespaces),
		TEST(test_overlayfs),
		TEST(test_kernel_threads_and_zombies),
		TEST(test_leader_gone),
		TEST(test_vanishing),
		TEST(test_limits),
		TEST(test_denied),
		TEST(test_hidepid),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
