/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TARGET_LANGUAGE_H
#define TARGET_LANGUAGE_H

#include "target/procfs.h"

/* What a process is written in, what runs it, and in which version. Decided by, in this order:
 *   1. the executable's name, where it is an interpreter's (entry.h);
 *   2. the first file mapped as code that is a runtime's library: libpython, libjvm, libnode, libruby, libphp,
 *      libcoreclr (a program that embeds a runtime, or an interpreter that is only a starter);
 *   3. the executable itself: Go, Rust, C++, else C.
 * One look at /proc/PID/maps, at most one file opened; what a file says is kept by device, inode, size and times. Files
 * are somebody else's: they are read with limits and believed only where what they say looks like a version. */

/* Append-only: the numbers may be stored. The first column is for people, the second Datadog's word (the common one where
 * Datadog has none; "cpp" is their word for C too). */
#define RUNTIMES(X)                                                                      \
	X(UNKNOWN, "?", "cpp") /* it could not be looked at: gone, or not ours to see */ \
	X(C, "C", "cpp")                                                                 \
	X(CXX, "C++", "cpp")                                                             \
	X(RUST, "Rust", "rust")                                                          \
	X(GO, "Go", "go")                                                                \
	X(CPYTHON, "CPython", "python")                                                  \
	X(PYPY, "PyPy", "python")                                                        \
	X(NODE, "Node.js", "javascript")                                                 \
	X(BUN, "Bun", "javascript")                                                      \
	X(DENO, "Deno", "javascript")                                                    \
	X(JVM, "JVM", "jvm")                                                             \
	X(RUBY, "Ruby", "ruby")                                                          \
	X(PHP, "PHP", "php")                                                             \
	X(DOTNET, ".NET", "dotnet")                                                      \
	X(PERL, "Perl", "perl")                                                          \
	X(LUA, "Lua", "lua")                                                             \
	X(SHELL, "shell", "shell")

enum runtime {
#define X(id, title, word) RUNTIME_##id,
	RUNTIMES(X)
#undef X
		RUNTIME_CNT
};

struct language {
	enum runtime runtime;
	/* Of the runtime, as its own tracer gives it: "1.22.3" (Go), "3.11.2" (CPython), "v20.11.1" (Node.js),
	 * "17.0.15" (JVM), "8.2.7" (PHP); of Rust the compiler's; of C and C++ none. Empty when it cannot be told; only
	 * "3.10" or "v18" where the file's name is all there is. */
	char version[48];
	/* Datadog-Meta-Lang-Interpreter where it is certain, else empty: "CPython", "PyPy", "v8", "gc-amd64-linux",
	 * "OpenJDK 64-Bit Server VM". */
	char interpreter[64];
	/* What the Go compiler wrote down (runtime/debug.BuildInfo), else empty: the commit, where it built from a git
	 * working tree, and the path of the main package; longer ones are left out. */
	char commit[65];
	char package[128];
};

const char *runtime_title(enum runtime runtime);
struct sv runtime_word(enum runtime runtime);

/* What was learnt of files. Any thread. Bounded: a new file takes the place of the one looked up longest ago
 * among four. */
struct languages;
#define LANGUAGES_MAX_FILES 1024
struct languages *languages_new(void);
void languages_free(struct languages *l); /* NULL is fine */
/* Files really read so far; the rest was known. */
uint64_t languages_files_read(const struct languages *l);

/* 0, or -ESRCH. Everything else that cannot be read leaves `ret` with less in it. `l` may be NULL: nothing is kept. */
int language_find(struct languages *l, struct proc *p, struct language *ret);
/* The same with the text of maps_read() at hand, which is changed as maps_next() does. */
int language_find_in(struct languages *l, struct proc *p, struct sbuf *maps, struct language *ret);

/* --- the files ---------------------------------------------------------------------------------------------------- */

struct elf;
/* Version and interpreter out of the file that implements ret->runtime; `path` is its name, for what only the name
 * tells. For programs (RUNTIME_UNKNOWN) the runtime as well. Reads at most LANGUAGE_MAX_SCAN of constants. */
void language_of_file(struct elf *elf, struct sv path, struct language *ret);
#define LANGUAGE_MAX_SCAN (32 << 20)

#endif
