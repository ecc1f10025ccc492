/* SPDX-License-Identifier: Apache-2.0 */
#include "base/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <sched.h>
#include <seccomp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"

/* What happens to other system calls; a build for tests may want to hear of them. */
#ifndef CONFINE_ACTION
#define CONFINE_ACTION SCMP_ACT_ERRNO(EPERM)
#endif

static unsigned chosen;
static unsigned main_took;
/* A worker starts when it likes. */
#define ANY_WORKER (CONFINE_ALL + 1)
static atomic_uint workers_took;
static char paths[CONFINE_MAX_PATHS][PATH_MAX];
static unsigned path_cnt; /* CONFINE_MAX_PATHS + 1: too many */
static pthread_mutex_t path_lock = PTHREAD_MUTEX_INITIALIZER;

const char *confine_part_name(enum confine_part part)
{
	return part == CONFINE_CAPABILITIES ? "capabilities" : part == CONFINE_SECCOMP ? "seccomp" : "landlock";
}

void confine_choose(unsigned parts)
{
	chosen = parts;
}

unsigned confine_chosen(void)
{
	return chosen;
}

void confine_will_use(const char *path)
{
	pthread_mutex_lock(&path_lock);
	unsigned i = 0;
	while (i < path_cnt && i < CONFINE_MAX_PATHS && strcmp(paths[i], path) != 0)
		i++;
	if (i == path_cnt && i < CONFINE_MAX_PATHS)
		snprintf(paths[i], sizeof(paths[0]), "%s", path);
	if (i == path_cnt)
		path_cnt++;
	pthread_mutex_unlock(&path_lock);
}

void confine_will_write(const char *path)
{
	if (access(path, F_OK) == 0)
		confine_will_use(path);
	else
		confine_will_remove(path);
}

void confine_will_remove(const char *path)
{
	char folder[PATH_MAX];
	snprintf(folder, sizeof(folder), "%s", path);
	confine_will_use(dirname(folder));
}

/* --- capabilities ------------------------------------------------------------------------------------------------- */

struct capability_sets {
	uint64_t effective, permitted, inheritable;
};

static int sets_get(struct capability_sets *ret)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2] = {0};
	if (syscall(SYS_capget, &header, d) < 0)
		return -errno;
	ret->effective = d[0].effective | (uint64_t)d[1].effective << 32;
	ret->permitted = d[0].permitted | (uint64_t)d[1].permitted << 32;
	ret->inheritable = d[0].inheritable | (uint64_t)d[1].inheritable << 32;
	return 0;
}

static int sets_set(const struct capability_sets *s)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2];
	for (int i = 0; i < 2; i++)
		d[i] = (struct __user_cap_data_struct){.effective = (uint32_t)(s->effective >> 32 * i),
						       .permitted = (uint32_t)(s->permitted >> 32 * i),
						       .inheritable = (uint32_t)(s->inheritable >> 32 * i)};
	return syscall(SYS_capset, &header, d) < 0 ? -errno : 0;
}

uint64_t confine_capabilities_held(void)
{
	struct capability_sets s = {0};
	sets_get(&s);
	return s.effective;
}

int confine_try_capabilities(uint64_t effective)
{
	struct capability_sets s;
	int rc = sets_get(&s);
	s.effective = s.permitted & effective;
	return rc < 0 ? rc : sets_set(&s);
}

bool confine_needs_override(uint64_t keep, const char **ret_path)
{
	bool needs;
	uint64_t before = confine_capabilities_held();
	*ret_path = "more paths than can be looked at";
	if (!(before & CAPABILITY_BIT(CAP_DAC_OVERRIDE)) || confine_try_capabilities(keep) < 0)
		return false;
	pthread_mutex_lock(&path_lock);
	needs = path_cnt > CONFINE_MAX_PATHS;
	for (unsigned i = 0; i < path_cnt && !needs; i++) {
		needs = faccessat(AT_FDCWD, paths[i], W_OK, AT_EACCESS) < 0 && errno == EACCES;
		*ret_path = paths[i];
	}
	pthread_mutex_unlock(&path_lock);
	confine_try_capabilities(before);
	return needs;
}

static int capabilities_drop(uint64_t keep, struct sbuf *err)
{
	struct capability_sets s;
	int rc = sets_get(&s);
	if (rc == 0) {
		/* An empty ambient set first: it follows from the other two. Bounding while CAP_SETPCAP is there. */
		prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
		for (int n = 0; s.effective & CAPABILITY_BIT(CAP_SETPCAP) && n < 64; n++)
			prctl(PR_CAPBSET_DROP, n, 0, 0, 0);
		s = (struct capability_sets){.effective = s.permitted & keep, .permitted = s.permitted & keep};
		rc = sets_set(&s);
	}
	if (rc == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		rc = -errno;
	if (rc < 0)
		sbuf_addf(err, "cannot be given up: %s", strerror(-rc));
	return rc;
}

/* --- system calls ------------------------------------------------------------------------------------------------- */

#if defined(__SANITIZE_ADDRESS__)
#define UNDER_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_SANITIZER 1
#endif
#endif
#ifndef UNDER_SANITIZER
#define UNDER_SANITIZER 0
#endif

/* On x86 probed functions run these in place of a breakpoint; kernels before 6.14 ask the filter about the first. Whoever
 * traces us must not break us. libseccomp 2.5 has no names for them. */
#define SYSCALL_URETPROBE 335
#define SYSCALL_UPROBE	  336

#define NAMESPACES \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

/* The kernel looks at no more of an int, and whoever calls need not have cleared the rest. */
#define INT_BITS 0xffffffffu

static int filter_special(scmp_filter_ctx f)
{
	static const unsigned families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
	/* Is it a terminal, and how wide; what libcurl asks of sockets; links by perf events. */
	static const unsigned ioctls[] = {TCGETS,
					  TIOCGWINSZ,
					  FIONREAD,
					  FIONBIO,
					  PERF_EVENT_IOC_ENABLE,
					  PERF_EVENT_IOC_DISABLE,
					  PERF_EVENT_IOC_SET_BPF};
	int rc = 0;
	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]) && rc == 0; i++)
		rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
				      SCMP_A0(SCMP_CMP_MASKED_EQ, INT_BITS, families[i]));
	/* Threads, and children without a namespace of their own. The arguments of clone3 cannot be seen: without it the
	 * C library takes clone. */
	if (rc == 0)
		rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
				      SCMP_A0(SCMP_CMP_MASKED_EQ, NAMESPACES, 0));
	if (rc == 0)
		rc = seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	for (size_t i = 0; i < sizeof(ioctls) / sizeof(ioctls[0]) && rc == 0; i++)
		rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
				      SCMP_A1(SCMP_CMP_MASKED_EQ, INT_BITS, ioctls[i]));
#if defined(__x86_64__)
	for (int n = SYSCALL_URETPROBE; n <= SYSCALL_UPROBE && rc == 0; n++)
		rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, n, 0);
#endif
	return rc;
}

static int filter_fill(scmp_filter_ctx f)
{
	static const char *const names[] = {
#define SYSCALL(name) #name,
#include "base/confine_syscalls.def"
#undef SYSCALL
	};
	int rc = 0;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && rc == 0; i++) {
		int n = seccomp_syscall_resolve_name(names[i]);
		if (n >= 0) /* this architecture has it */
			rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, n, 0);
	}
	if (rc == 0)
		rc = filter_special(f);
	/* Which one was refused is to be found in the audit log; where that is not to be had, it is not. */
	seccomp_attr_set(f, SCMP_FLTATR_CTL_LOG, 1);
	seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	return rc;
}

static int seccomp_take(struct sbuf *err)
{
	scmp_filter_ctx f = seccomp_init(CONFINE_ACTION);
	int rc = f ? filter_fill(f) : -ENOMEM;
	if (rc == 0)
		rc = seccomp_load(f); /* sets no_new_privs, too */
	if (f)
		seccomp_release(f);
	if (rc < 0)
		sbuf_addf(err, "the kernel refused the filter: %s", strerror(-rc));
	return rc;
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

/* Debian 12's header knows the first version alone. */
#define FS_REFER    (1ULL << 13) /* 2 */
#define FS_TRUNCATE (1ULL << 14) /* 3 */

static int landlock_version(void)
{
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	return version < 0 ? -errno : (int)version;
}

static int landlock_take(struct sbuf *err)
{
	int version = landlock_version(), rc = version < 0 ? version : 0;
	struct landlock_ruleset_attr attr = {
		.handled_access_fs =
			LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
			LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
			LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |
			LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_EXECUTE | (version >= 2 ? FS_REFER : 0) |
			(version >= 3 ? FS_TRUNCATE : 0)};
	__cleanup(closep) int fd = -1;
	if (rc == 0)
		fd = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	if (rc == 0 &&
	    (fd < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_landlock_restrict_self, fd, 0) < 0))
		rc = -errno;
	if (rc < 0)
		sbuf_adds(err, strerror(-rc));
	return rc;
}

/* --- together ----------------------------------------------------------------------------------------------------- */

int confine_probe(enum confine_part part, int *ret_version, struct sbuf *err)
{
	int rc = 0;
	*ret_version = 0;
	if (part == CONFINE_SECCOMP) {
		uint32_t action = SECCOMP_RET_ERRNO;
		if (UNDER_SANITIZER)
			rc = -ENOTSUP;
		else if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) < 0)
			rc = -errno;
	} else if (part == CONFINE_LANDLOCK) {
		rc = landlock_version();
		*ret_version = rc < 0 ? 0 : rc;
	}
	if (rc < 0)
		sbuf_addf(err, "%s",
			  UNDER_SANITIZER && rc == -ENOTSUP ? "a build with a sanitizer needs more"
			  : rc == -ENOSYS		    ? "this kernel has none"
			  : rc == -EOPNOTSUPP		    ? "it is switched off in this kernel (lsm=)"
							    : strerror(-rc));
	return rc < 0 ? rc : 0;
}

static int part_take(enum confine_part part, uint64_t keep, struct sbuf *err)
{
	int version, rc = confine_probe(part, &version, err);
	if (rc < 0)
		return rc;
	return part == CONFINE_CAPABILITIES ? capabilities_drop(keep, err)
	       : part == CONFINE_LANDLOCK   ? landlock_take(err)
					    : seccomp_take(err);
}

static bool part_taken(enum confine_part part, uint64_t keep, struct sbuf *err)
{
	struct sbuf why = {0};
	if (!(chosen & part))
		return false;
	int rc = part_take(part, keep, &why);
	if (rc < 0)
		sbuf_addf(err, "%s%s: %s", err->len ? "; " : "", confine_part_name(part), sbuf_str(&why));
	sbuf_release(&why);
	return rc == 0;
}

void confine_main(uint64_t keep, unsigned *ret_parts, struct sbuf *err)
{
	*ret_parts = part_taken(CONFINE_CAPABILITIES, keep, err) ? CONFINE_CAPABILITIES : 0;
	*ret_parts |= part_taken(CONFINE_SECCOMP, 0, err) ? CONFINE_SECCOMP : 0;
	main_took = *ret_parts;
}

unsigned confine_taken(bool by_workers)
{
	return by_workers ? workers_took & CONFINE_ALL : main_took;
}

/* Worker by worker: what one of them could not take is not said to be taken. */
static void note_worker(unsigned parts)
{
	unsigned before = workers_took;
	while (!atomic_compare_exchange_weak(&workers_took, &before,
					     before ? before & (parts | ANY_WORKER) : parts | ANY_WORKER))
		;
}

void confine_worker(const char *name)
{
	struct sbuf err = {0};
	const char *path;
	if (!chosen)
		return;
	uint64_t keep = confine_needs_override(0, &path) ? CAPABILITY_BIT(CAP_DAC_OVERRIDE) : 0;
	unsigned parts = part_taken(CONFINE_CAPABILITIES, keep, &err) ? CONFINE_CAPABILITIES : 0;
	parts |= part_taken(CONFINE_LANDLOCK, 0, &err) ? CONFINE_LANDLOCK : 0;
	parts |= part_taken(CONFINE_SECCOMP, 0, &err) ? CONFINE_SECCOMP : 0;
	note_worker(parts);
	log_debug("thread %s is confined:%s%s%s%s%s%s", name,
		  parts & CONFINE_CAPABILITIES ? keep ? " CAP_DAC_OVERRIDE alone," : " no capabilities," : "",
		  parts & CONFINE_LANDLOCK ? " Landlock," : "", parts & CONFINE_SECCOMP ? " seccomp" : "",
		  parts ? "" : " by nothing", err.len ? "; not: " : "", sbuf_str(&err));
	sbuf_release(&err);
}
