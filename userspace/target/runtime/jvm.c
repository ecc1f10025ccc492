/* SPDX-License-Identifier: Apache-2.0 */
/* What HotSpot says in its file of counters, under the names of dd-trace-java's JMXFetch. Of collections that is the
 * rate per second, of the time in them thousandths. Not there, or read by others: -XX:-UsePerfData, OpenJ9. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/regular.h"
#include "target/runtime/hsperfdata.h"
#include "target/runtime/runtime.h"

#define TMP_MAX_ENTRIES 4096 /* of a directory /tmp that are looked at for hsperfdata_USER */
#define FUSE_MAGIC	0x65735546

enum jvm_counter {
	JVM_EDEN,
	JVM_SURVIVOR_0,
	JVM_SURVIVOR_1,
	JVM_OLD,
	JVM_EDEN_CAPACITY,
	JVM_SURVIVOR_0_CAPACITY,
	JVM_SURVIVOR_1_CAPACITY,
	JVM_OLD_CAPACITY,
	JVM_METASPACE,
	JVM_LOADED,
	JVM_UNLOADED,
	JVM_SHARED_LOADED,
	JVM_SHARED_UNLOADED,
	JVM_THREADS,
	JVM_FREQUENCY,
	/* Those that are kept, in this order. */
	JVM_MINOR_COUNT,
	JVM_MINOR_TIME,
	JVM_MAJOR_COUNT,
	JVM_MAJOR_TIME,
	JVM_COUNTERS,
	JVM_KEPT = JVM_COUNTERS - JVM_MINOR_COUNT,
};
_Static_assert((int)JVM_KEPT <= RUNTIME_KEPT, "room for them");

static const char *const counter_names[JVM_COUNTERS] = {
	[JVM_EDEN] = "sun.gc.generation.0.space.0.used",
	[JVM_SURVIVOR_0] = "sun.gc.generation.0.space.1.used",
	[JVM_SURVIVOR_1] = "sun.gc.generation.0.space.2.used",
	[JVM_OLD] = "sun.gc.generation.1.space.0.used",
	[JVM_EDEN_CAPACITY] = "sun.gc.generation.0.space.0.capacity",
	[JVM_SURVIVOR_0_CAPACITY] = "sun.gc.generation.0.space.1.capacity",
	[JVM_SURVIVOR_1_CAPACITY] = "sun.gc.generation.0.space.2.capacity",
	[JVM_OLD_CAPACITY] = "sun.gc.generation.1.space.0.capacity",
	[JVM_METASPACE] = "sun.gc.metaspace.used",
	[JVM_LOADED] = "java.cls.loadedClasses",
	[JVM_UNLOADED] = "java.cls.unloadedClasses",
	[JVM_SHARED_LOADED] = "java.cls.sharedLoadedClasses",
	[JVM_SHARED_UNLOADED] = "java.cls.sharedUnloadedClasses",
	[JVM_THREADS] = "java.threads.live",
	[JVM_FREQUENCY] = "sun.os.hrt.frequency",
	[JVM_MINOR_COUNT] = "sun.gc.collector.0.invocations",
	[JVM_MINOR_TIME] = "sun.gc.collector.0.time",
	[JVM_MAJOR_COUNT] = "sun.gc.collector.1.invocations",
	[JVM_MAJOR_TIME] = "sun.gc.collector.1.time",
};

struct jvm {
	int64_t value[JVM_COUNTERS];
	bool has[JVM_COUNTERS];
};

static void take(void *arg, struct sv name, int64_t value)
{
	struct jvm *j = arg;
	for (int i = 0; i < JVM_COUNTERS; i++)
		if (sv_eq(name, sv_of(counter_names[i]))) {
			j->value[i] = value;
			j->has[i] = true;
		}
}

/* --- the file ----------------------------------------------------------------------------------------------------- */

/* Without following a link: the process may have put anything in that place. */
static int open_folder(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int read_file(int dir, const char *name, struct sbuf *out)
{
	int fd __cleanup(closep) = -1;
	int rc = regular_open_at(dir, name, &fd);
	if (rc < 0)
		return rc;
	while (out->len < HSPERFDATA_MAX_SZ) {
		char *at = sbuf_reserve(out, 32768);
		ssize_t n = at ? read(fd, at, 32768) : -1;
		rc = at ? 0 : -ENOMEM;
		if (n <= 0)
			break;
		out->len += (size_t)n;
	}
	return rc;
}

/* The user's name is in that of the directory, and known only inside the container: the one that has a file of the
 * process's number is it. */
static int find_file(struct proc *p, struct sbuf *out)
{
	const struct proc_status *status;
	struct statfs fs;
	char pid[16];
	int tmp = open_folder(p->dir, "root/tmp"), rc = -ENOENT;
	DIR *entries = tmp < 0 ? NULL : fdopendir(tmp);
	if (!entries || proc_status(p, &status) < 0 || fstatfs(tmp, &fs) < 0 || fs.f_type == FUSE_MAGIC)
		goto out;
	snprintf(pid, sizeof(pid), "%d", status->ns_pid);
	struct dirent *e;
	for (unsigned i = 0; i < TMP_MAX_ENTRIES && rc < 0 && (e = readdir(entries)); i++) {
		if (!sv_starts(sv_of(e->d_name), SV("hsperfdata_")))
			continue;
		int dir __cleanup(closep) = open_folder(tmp, e->d_name);
		if (dir >= 0)
			rc = read_file(dir, pid, out);
	}
out:
	if (entries)
		closedir(entries);
	else if (tmp >= 0)
		close(tmp);
	return rc;
}

/* --- the report --------------------------------------------------------------------------------------------------- */

static void emit_gauge(const struct runtime_report *r, const struct jvm *j, enum jvm_counter of, const char *name,
		       double value)
{
	if (j->has[of])
		r->emit(r->arg, name, RUNTIME_GAUGE, value);
}

static void emit_memory(const struct runtime_report *r, const struct jvm *j)
{
	double used = 0, committed = 0;
	for (int i = JVM_EDEN; i <= JVM_OLD; i++) {
		used += (double)j->value[i];
		committed += (double)j->value[i + JVM_EDEN_CAPACITY];
	}
	emit_gauge(r, j, JVM_EDEN, "jvm.heap_memory", used);
	emit_gauge(r, j, JVM_EDEN_CAPACITY, "jvm.heap_memory_committed", committed);
	emit_gauge(r, j, JVM_EDEN, "jvm.gc.eden_size", (double)j->value[JVM_EDEN]);
	emit_gauge(r, j, JVM_SURVIVOR_0, "jvm.gc.survivor_size",
		   (double)j->value[JVM_SURVIVOR_0] + (double)j->value[JVM_SURVIVOR_1]);
	emit_gauge(r, j, JVM_OLD, "jvm.gc.old_gen_size", (double)j->value[JVM_OLD]);
	emit_gauge(r, j, JVM_METASPACE, "jvm.gc.metaspace_size", (double)j->value[JVM_METASPACE]);
}

/* What was added since the last report; nothing at the first, when there is none. */
static void emit_collections(const struct runtime_report *r, const struct jvm *j)
{
	static const char *const names[JVM_KEPT] = {"jvm.gc.minor_collection_count", "jvm.gc.minor_collection_time",
						    "jvm.gc.major_collection_count", "jvm.gc.major_collection_time"};
	double hz = j->has[JVM_FREQUENCY] && j->value[JVM_FREQUENCY] > 0 ? (double)j->value[JVM_FREQUENCY] : 1e9;
	for (int i = 0; i < JVM_KEPT; i++) {
		enum jvm_counter c = (enum jvm_counter)(JVM_MINOR_COUNT + i);
		double since = (double)j->value[c] - (double)r->kept[i];
		bool is_time = c == JVM_MINOR_TIME || c == JVM_MAJOR_TIME;
		if (since >= 0 && r->kept[i] >= 0)
			emit_gauge(r, j, c, names[i], (is_time ? since / hz * 1000 : since) / r->elapsed_s);
		r->kept[i] = j->has[c] ? j->value[c] : -1;
	}
}

static unsigned jvm_report(const struct runtime_report *r)
{
	struct sbuf text __cleanup(sbuf_release) = {0};
	struct jvm j = {0};
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	r->emit(r->arg, "jvm.cpu_load.process", RUNTIME_GAUGE,
		(runtime_user_s(r) + runtime_system_s(r)) / r->elapsed_s / (double)(cpus > 0 ? cpus : 1));
	if (r->now->fds >= 0)
		r->emit(r->arg, "jvm.os.open_file_descriptors", RUNTIME_GAUGE, (double)r->now->fds);
	if (find_file(r->proc, &text) < 0 || hsperfdata_each(text.data, text.len, take, &j) < 0)
		return RUNTIME_FDS;
	emit_memory(r, &j);
	emit_collections(r, &j);
	emit_gauge(r, &j, JVM_THREADS, "jvm.thread_count", (double)j.value[JVM_THREADS]);
	emit_gauge(r, &j, JVM_LOADED, "jvm.loaded_classes",
		   (double)j.value[JVM_LOADED] + (double)j.value[JVM_SHARED_LOADED] - (double)j.value[JVM_UNLOADED] -
			   (double)j.value[JVM_SHARED_UNLOADED]);
	return RUNTIME_FDS | (j.has[JVM_THREADS] ? RUNTIME_THREADS : 0);
}

const struct runtime_ops runtime_jvm = {"jvm", jvm_report};
