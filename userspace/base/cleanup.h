/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Ownership of a local is written where it is declared: __cleanup(freep) char *s;
 * it is handed on with `return move_ptr(s)` or `return move_fd(fd)`. */
#define __cleanup(fn) __attribute__((cleanup(fn)))

#define move_ptr(p)                         \
	({                                  \
		__typeof__(p) moved_ = (p); \
		(p) = NULL;                 \
		moved_;                     \
	})
#define move_fd(fd)                \
	({                         \
		int moved_ = (fd); \
		(fd) = -1;         \
		moved_;            \
	})

/* freep(&p), for any pointer that malloc gave. */
static inline void freep(void *p)
{
	free(*(void **)p);
	*(void **)p = NULL;
}

static inline void closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static inline void fclosep(FILE **f)
{
	if (*f)
		fclose(*f);
	*f = NULL;
}

#endif
