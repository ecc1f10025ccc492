/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_VEC_H
#define BASE_VEC_H

#include <errno.h>
#include <stdlib.h>

/* A growing array of any type: VEC(int) v = {0}; vec_push(&v, 3); v.data[i], v.cnt.
 * Elements move when it grows: keep indexes, not pointers. */
#define VEC(type)           \
	struct {            \
		type *data; \
		size_t cnt; \
		size_t cap; \
	}

/* 0 or -ENOMEM; the vector is unchanged on failure. */
#define vec_push(v, value)                               \
	({                                               \
		int err_ = vec_reserve(v, 1);            \
		if (!err_)                               \
			(v)->data[(v)->cnt++] = (value); \
		err_;                                    \
	})
/* Room for `more` elements, so that as many may be put at data[cnt++] unasked. 0 or -ENOMEM. */
#define vec_reserve(v, more) vec_room((void **)&(v)->data, (v)->cnt, &(v)->cap, (more), sizeof(*(v)->data))
#define vec_foreach(it, v)   for (__typeof__((v)->data + 0) it = (v)->data; it && it < (v)->data + (v)->cnt; it++)
#define vec_release(v)                   \
	do {                             \
		free((v)->data);         \
		(v)->data = NULL;        \
		(v)->cnt = (v)->cap = 0; \
	} while (0)

static inline int vec_room(void **data, size_t cnt, size_t *cap, size_t more, size_t elem_sz)
{
	if (more <= *cap - cnt)
		return 0;
	size_t want = *cap ? *cap : 8;
	while (want - cnt < more)
		want *= 2;
	void *grown = reallocarray(*data, want, elem_sz);
	if (!grown)
		return -ENOMEM;
	*data = grown;
	*cap = want;
	return 0;
}

#endif
