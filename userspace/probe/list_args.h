/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROBE_LIST_ARGS_H
#define PROBE_LIST_ARGS_H

#include "probe/list_read.h"

/* Private to list*.c: `args:` and `return:` of one probe, compiled to captures. */

struct list_values {
	struct value_names names; /* arguments, and `return` */
	/* Values that become tags of this name unless a tag or metric is called so already. */
	struct {
		struct sv key;
		uint8_t value;
	} tags[VALUE_CNT];
	unsigned tag_cnt;
};

/* Fills probe->spec.captures, capture_names and return_type. Either node may be NULL. */
void list_compile_values(struct list_reader *r, struct probe *probe, const struct yaml_node *args,
			 const struct yaml_node *ret, struct list_values *values);
#define LIST_FORM_TEMPLATE "text or a template (\"{argument}\")"
/* Nothing when `node` is NULL. */
void list_compile_template(struct list_reader *r, const struct list_key *key, const struct yaml_node *node,
			   struct value_names *names, struct template *ret);
/* `metric:`, one or a list of them. */
void list_compile_measures(struct list_reader *r, struct probe *probe, const struct yaml_node *node,
			   struct list_values *values);
/* When everything that may use a value was compiled: what nothing uses stays in the kernel. */
void list_hide_unused(const struct list_values *values, struct probe *probe);

#endif
