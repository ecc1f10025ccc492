/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROPAGATION_VECTORS_H
#define PROPAGATION_VECTORS_H

#include <errno.h>
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sbuf.h"
#include "trace/propagation/propagation.h"

/* The cases of tests/golden/propagation/: what a request says of its trace, and what is to be made of it (README.md there). */

#define VECTORS	    "tests/golden/propagation/*.txt"
#define VECTOR_ENVS 8

struct vector {
	const char *file;
	char name[200];
	char env[VECTOR_ENVS][2][80]; /* name, value */
	unsigned env_cnt, own_env;    /* those from own_env on are of this case alone */
	struct sbuf head;	      /* a whole head with the headers in it */
	struct sbuf want;	      /* the lines of what is to be made of it */
	bool unsure;		      /* the kernel half does not know */
};

struct vectors {
	glob_t files;
	size_t at;
	FILE *f;
	struct vector v;
};

static inline void vectors_open(struct vectors *all)
{
	memset(all, 0, sizeof(*all));
	assert_int_equal(glob(VECTORS, 0, NULL, &all->files), 0);
}

static inline void vectors_close(struct vectors *all)
{
	assert_null(all->f);
	globfree(&all->files);
	sbuf_release(&all->v.head);
	sbuf_release(&all->v.want);
}

/* "\t" and "\x01" are bytes, "{5*ab}" is ababababab. */
static inline void vector_unescape(struct sbuf *out, const char *text)
{
	unsigned byte, times, len = 0;
	while (*text) {
		if (sscanf(text, "\\x%2x%n", &byte, (int *)&len) == 1 && len == 4) {
			sbuf_addc(out, (char)byte);
			text += len;
		} else if (!strncmp(text, "\\t", 2)) {
			sbuf_addc(out, '\t');
			text += 2;
		} else if (sscanf(text, "{%u*%n", &times, (int *)&len) == 1 && strchr(text, '}')) {
			const char *end = strchr(text, '}');
			while (times--)
				sbuf_addsv(out, (struct sv){text + len, (size_t)(end - text) - len});
			text = end + 1;
		} else {
			sbuf_addc(out, *text++);
		}
	}
}

static inline void vector_env(struct vector *v, const char *line)
{
	const char *equals = strchr(line, '=');
	unsigned i = 0;
	assert_non_null(equals);
	assert_true(v->env_cnt < VECTOR_ENVS);
	i = v->env_cnt++;
	snprintf(v->env[i][0], sizeof(v->env[i][0]), "%.*s", (int)(equals - line), line);
	snprintf(v->env[i][1], sizeof(v->env[i][1]), "%.79s", equals + 1);
}

/* One line of a case, without its end. */
static inline void vector_line(struct vector *v, const char *line)
{
	if (!strncmp(line, "> ", 2)) {
		vector_unescape(&v->head, line + 2);
		sbuf_adds(&v->head, "\r\n");
	} else if (!strcmp(line, "< unsure")) {
		v->unsure = true;
	} else if (!strncmp(line, "< ", 2)) {
		vector_unescape(&v->want, line + 2);
		sbuf_addc(&v->want, '\n');
	} else if (line[0] != '#') {
		vector_env(v, line);
	}
}

static inline void vector_begin(struct vectors *all, const char *name)
{
	struct vector *v = &all->v;
	v->file = all->files.gl_pathv[all->at - 1];
	v->env_cnt = v->own_env;
	v->unsure = false;
	snprintf(v->name, sizeof(v->name), "%.199s", name);
	sbuf_reset(&v->head);
	sbuf_reset(&v->want);
	sbuf_adds(&v->head, "GET / HTTP/1.1\r\nHost: a\r\n");
}

/* The next case; NULL: there are no more. */
static inline struct vector *vectors_next(struct vectors *all)
{
	char line[2048];
	bool begun = false;
	for (;;) {
		if (!all->f) {
			if (all->at == all->files.gl_pathc)
				return NULL;
			all->f = fopen(all->files.gl_pathv[all->at++], "re");
			assert_non_null(all->f);
			all->v.env_cnt = all->v.own_env = 0;
		}
		bool more = fgets(line, sizeof(line), all->f);
		if (!more) {
			fclose(all->f);
			all->f = NULL;
		}
		line[more ? strcspn(line, "\n") : 0] = '\0';
		if (!more || !line[0]) {
			if (!begun)
				continue;
			sbuf_adds(&all->v.head, "\r\n");
			return &all->v;
		}
		if (!strncmp(line, "== ", 3)) {
			vector_begin(all, line + 3);
			begun = true;
		} else {
			vector_line(&all->v, line);
			if (!begun) /* for all of the file */
				all->v.own_env = all->v.env_cnt;
		}
	}
}

static inline struct sv vector_lookup(void *arg, const char *name)
{
	const struct vector *v = arg;
	for (unsigned i = v->env_cnt; i-- > 0;)
		if (!strcmp(v->env[i][0], name))
			return sv_of(v->env[i][1]);
	return SV_NULL;
}

static inline void vector_settings(struct vector *v, struct propagation_settings *s)
{
	struct sbuf warn = {0};
	propagation_settings_read(s, vector_lookup, v, &warn);
	if (warn.len)
		fail_msg("%s: %s: %s", v->file, v->name, sbuf_str(&warn));
}

#endif
