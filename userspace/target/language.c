/* SPDX-License-Identifier: Apache-2.0 */
#include "target/language.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "binary/elf.h"
#include "target/entry.h"
#include "target/maps.h"
#include "target/match.h"
#include "target/text.h"

#define WAYS 4
#define SETS (LANGUAGES_MAX_FILES / WAYS)

static const struct {
	const char *title, *word;
} runtimes[] = {
#define X(id, title, word) {title, word},
	RUNTIMES(X)
#undef X
};

const char *runtime_title(enum runtime runtime)
{
	return runtimes[runtime < RUNTIME_CNT ? runtime : RUNTIME_UNKNOWN].title;
}

struct sv runtime_word(enum runtime runtime)
{
	return sv_of(runtimes[runtime < RUNTIME_CNT ? runtime : RUNTIME_UNKNOWN].word);
}

/* --- files already seen ------------------------------------------------------------------------------------------- */

struct known_file {
	uint64_t used; /* 0: empty */
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime, ctime;
	enum runtime asked;
	struct language language;
};

struct languages {
	pthread_mutex_t lock; /* also while a file is read: once per file */
	uint64_t clock, read;
	struct known_file files[SETS][WAYS];
};

struct languages *languages_new(void)
{
	struct languages *l = calloc(1, sizeof(*l));
	if (l)
		pthread_mutex_init(&l->lock, NULL);
	return l;
}

void languages_free(struct languages *l)
{
	if (l)
		pthread_mutex_destroy(&l->lock);
	free(l);
}

uint64_t languages_files_read(const struct languages *l)
{
	return l->read;
}

static bool same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

/* The entry of this file, or the one to be overwritten, whose `used` is 0 then. */
static struct known_file *lookup(struct languages *l, const struct stat *st, enum runtime asked)
{
	struct known_file *set = l->files[((uint64_t)st->st_ino * 0x9e3779b97f4a7c15ULL >> 40) % SETS], *oldest = set;
	for (struct known_file *f = set; f < set + WAYS; f++) {
		if (f->used && f->dev == st->st_dev && f->ino == st->st_ino && f->size == st->st_size &&
		    f->asked == asked && same_time(f->mtime, st->st_mtim) && same_time(f->ctime, st->st_ctim)) {
			f->used = ++l->clock;
			return f;
		}
		if (f->used < oldest->used)
			oldest = f;
	}
	*oldest = (struct known_file){.dev = st->st_dev,
				      .ino = st->st_ino,
				      .size = st->st_size,
				      .mtime = st->st_mtim,
				      .ctime = st->st_ctim,
				      .asked = asked};
	return oldest;
}

static void read_file(int fd, struct sv path, struct language *ret)
{
	struct elf *elf = NULL;
	if (elf_open(&elf, fd, NULL) == 0)
		language_of_file(elf, path, ret);
	elf_close(elf);
}

static void look_at(struct languages *l, int fd, struct sv path, struct language *ret)
{
	struct stat st;
	if (!l || fstat(fd, &st) < 0) {
		read_file(fd, path, ret);
		return;
	}
	pthread_mutex_lock(&l->lock);
	struct known_file *f = lookup(l, &st, ret->runtime);
	if (!f->used) {
		f->used = ++l->clock;
		f->language.runtime = ret->runtime;
		read_file(fd, path, &f->language);
		l->read++;
	}
	*ret = f->language;
	pthread_mutex_unlock(&l->lock);
}

/* --- the decision ------------------------------------------------------------------------------------------------- */

static enum runtime runtime_of_interpreter(struct sv exe_name, struct sv word)
{
	if (sv_starts(exe_name, SV("pypy")))
		return RUNTIME_PYPY;
	if (sv_starts(exe_name, SV("bun")))
		return RUNTIME_BUN;
	if (sv_starts(exe_name, SV("deno")))
		return RUNTIME_DENO;
	for (enum runtime r = RUNTIME_CPYTHON; word.len && r < RUNTIME_CNT; r++)
		if (sv_eq(word, runtime_word(r)))
			return r;
	return RUNTIME_UNKNOWN;
}

static enum runtime runtime_of_library(struct sv name)
{
	static const struct {
		const char *prefix;
		enum runtime runtime;
	} known[] = {
		{"libpython", RUNTIME_CPYTHON},	   {"libpypy", RUNTIME_PYPY}, {"libjvm.so", RUNTIME_JVM},
		{"libnode.so", RUNTIME_NODE},	   {"libruby", RUNTIME_RUBY}, {"libphp", RUNTIME_PHP},
		{"libcoreclr.so", RUNTIME_DOTNET},
	};
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (sv_starts(name, sv_of(known[i].prefix)))
			return known[i].runtime;
	return RUNTIME_UNKNOWN;
}

/* The library that implements `want`, or, when that is unknown, any runtime's. */
static bool find_library(struct sbuf *maps, enum runtime want, struct proc_map *ret, enum runtime *ret_runtime)
{
	struct maps_iter it = MAPS_ITER(maps);
	while (maps_next(&it, ret)) {
		*ret_runtime = runtime_of_library(text_basename(ret->path));
		if (*ret_runtime && (!want || *ret_runtime == want))
			return true;
	}
	return false;
}

int language_find_in(struct languages *l, struct proc *p, struct sbuf *maps, struct language *ret)
{
	struct entry entry;
	struct sv exe_name, path = SV_NULL;
	struct proc_map m;
	enum runtime library;
	__cleanup(closep) int fd = -1;
	*ret = (struct language){.runtime = RUNTIME_UNKNOWN};
	target_names(p, &exe_name, &entry);
	ret->runtime = runtime_of_interpreter(exe_name, entry.language);
	if (ret->runtime == RUNTIME_SHELL || ret->runtime == RUNTIME_PERL || ret->runtime == RUNTIME_LUA)
		return 0;
	if (find_library(maps, ret->runtime, &m, &library)) {
		ret->runtime = library;
		path = m.path;
		maps_open(p, &m, &fd);
	} else if (ret->runtime != RUNTIME_JVM && ret->runtime != RUNTIME_DOTNET) {
		/* java and dotnet are starters: without their library yet there is nothing to be read in them */
		proc_exe(p, &path);
		proc_open_exe(p, &fd);
	}
	if (fd >= 0)
		look_at(l, fd, path, ret);
	return fd < 0 && proc_gone(p) ? -ESRCH : 0;
}

int language_find(struct languages *l, struct proc *p, struct language *ret)
{
	struct sbuf maps = {0};
	maps_read(p, &maps);
	int err = language_find_in(l, p, &maps, ret);
	sbuf_release(&maps);
	return err;
}
