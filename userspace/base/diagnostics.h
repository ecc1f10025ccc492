/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_DIAGNOSTICS_H
#define BASE_DIAGNOSTICS_H

#include <stdint.h>

#include "base/arena.h"
#include "base/sbuf.h"
#include "base/vec.h"

/* Where something was written: line and column from 1, columns counted in characters. All 0: not in a file. */
struct source_pos {
	uint32_t line;
	uint32_t column;
	uint32_t file; /* 0: the file itself; else one that it includes, see diagnostics_open_source() */
};
#define SOURCE_POS(line_, column_) ((struct source_pos){.line = (line_), .column = (column_)})

enum severity { SEVERITY_ERROR, SEVERITY_WARNING };

struct diagnostic {
	struct source_pos pos;
	enum severity severity;
	struct sv message;
};

struct diagnostics_source {
	struct sv name, text;
};

/* The mistakes found in one file and those it includes, gathered so that they can be shown all at once and in file order, with the line
 * each is about. Valid when zeroed; texts are copied. Later phases may add to it as long as it lives. */
struct diagnostics {
	struct sv name; /* of the file, as messages show it */
	struct sv text; /* the file */
	VEC(struct diagnostics_source) included;
	uint32_t reading; /* the file that positions without one are of */
	VEC(struct diagnostic) items;
	uint32_t error_cnt;
	uint32_t warning_cnt;
	uint32_t left_out; /* beyond DIAGNOSTICS_MAX; counted above all the same */
	bool failed;	   /* out of memory: something was not recorded */
	struct arena arena;
};

#define DIAGNOSTICS_MAX 200

void diagnostics_set_source(struct diagnostics *d, struct sv name, struct sv text);
/* An included file: what is reported from here on is about it, until diagnostics_close_source(). Its number, for
 * source_pos.file. */
uint32_t diagnostics_open_source(struct diagnostics *d, struct sv name, struct sv text);
void diagnostics_close_source(struct diagnostics *d);
void diagnostics_add(struct diagnostics *d, enum severity severity, struct source_pos pos, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void diagnostics_vadd(struct diagnostics *d, enum severity severity, struct source_pos pos, const char *fmt,
		      va_list ap);
#define diagnostics_error(d, pos, ...)	 diagnostics_add(d, SEVERITY_ERROR, pos, __VA_ARGS__)
#define diagnostics_warning(d, pos, ...) diagnostics_add(d, SEVERITY_WARNING, pos, __VA_ARGS__)

/* In file order (those of one place in the order they were found):
 *	probes.yaml:3:5: error: unknown key 'funtion' in a probe; did you mean 'function'?
 *	    - funtion: charge_card
 *	      ^
 * Those without a position come first, without line and column; without a file, without its name. */
void diagnostics_print(struct diagnostics *d, struct sbuf *out);
void diagnostics_release(struct diagnostics *d);

#endif
