/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROBE_LIST_YAML_H
#define PROBE_LIST_YAML_H

#include "base/arena.h"
#include "base/diagnostics.h"

/* A YAML file as a tree whose every node knows its place. Of YAML 1.2 one plain document is taken: no anchors, aliases,
 * tags or merge keys (each is a mistake with its own message), keys are scalars. Duplicate keys are kept. */

#define YAML_MAX_SZ    (1 << 20)
#define YAML_MAX_DEPTH 32
#define YAML_MAX_NODES 65536

enum yaml_kind {
	YAML_NULL, /* nothing written: "key:" */
	YAML_SCALAR,
	YAML_SEQUENCE,
	YAML_MAPPING,
	YAML_BAD, /* reported already: read it as if it were not there, silently */
};

struct yaml_node {
	enum yaml_kind kind;
	bool quoted; /* or a block: certainly text, never a number */
	struct source_pos pos;
	struct sv text;	     /* of a scalar, decoded; in the tree's arena */
	size_t raw, raw_end; /* byte offsets in the source of what `text` was decoded from */
	struct source_pos raw_pos;
	struct yaml_node *key;	 /* of a mapping's value */
	struct yaml_node *first; /* child of a sequence or mapping */
	struct yaml_node *next;
	uint32_t cnt; /* children */
};

/* What a reader of the tree carries along to report at a place inside it. */
struct yaml_source {
	struct sv text;
	struct diagnostics *d;
};

/* 0 with *ret (NULL: the file holds no value at all), -EINVAL when the file cannot be read on from some place
 * (reported), -ENOMEM. src->text must outlive the tree, and is at most YAML_MAX_SZ long. */
int yaml_parse(struct yaml_node **ret, const struct yaml_source *src, struct arena *arena);

/* Marks every node as one of that file of the diagnostics. */
void yaml_set_file(struct yaml_node *node, uint32_t file);
/* `names` ends with NULL; NULL is fine, and none. */
bool yaml_is_one_of(const struct yaml_node *key, const char *const *names);
/* The same text for trees that mean the same: order, quotes and blanks of the file do not matter where YAML says so, but
 * the order of keys does. Keys in `skip` (NULL-terminated; NULL: none) of the outermost map are left out. */
void yaml_canonical(const struct yaml_node *node, const char *const *skip, struct sbuf *out);

/* Where byte `at` of node->text was written, through quotes, escapes, folding and indentation. A NULL node stands for a
 * text that is not in a file: line 1, column at + 1. */
struct source_pos yaml_pos_at(const struct yaml_source *src, const struct yaml_node *node, size_t at);

/* Nothing in it, nor in its keys, is YAML_BAD. */
bool yaml_is_good(const struct yaml_node *node);

void yaml_error(const struct yaml_source *src, const struct yaml_node *node, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void yaml_error_at(const struct yaml_source *src, const struct yaml_node *node, size_t at, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* "a list", "an empty map", "nothing" or the text in quotes, shortened: for "found ...". */
const char *yaml_describe(const struct yaml_node *node, char *buf, size_t sz);
#define YAML_DESCRIBE_SZ 64

#endif
