/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/glob.h"
#include "base/cleanup.h"
#include "target/containers.h"
#include "target/procfs.h"
#include "target/text.h"

/* One "\x" of strconv.Quote; \u and \U, which it writes for what cannot be printed, no label may hold (Kubernetes:
 * letters, digits, '-', '_', '.'). */
static bool unquote(struct sv quoted, struct sbuf *out)
{
	for (size_t i = 0; i < quoted.len; i++) {
		char c = quoted.data[i];
		if (c == '\\') {
			if (++i >= quoted.len)
				return false;
			c = quoted.data[i];
			if (c != '"' && c != '\\')
				return false;
		}
		sbuf_addc(out, c);
	}
	return true;
}

int podinfo_label(struct sv text, struct sv key, struct sbuf *ret_value)
{
	while (text.len) {
		struct sv value = text_trim(text_line(&text));
		if (!value.len)
			continue;
		struct sv name = text_until(&value, '=');
		if (!name.len || value.len < 2 || value.data[0] != '"' || value.data[value.len - 1] != '"')
			return -EINVAL;
		if (!sv_eq(name, key))
			continue;
		return unquote((struct sv){value.data + 1, value.len - 2}, ret_value) ? 1 : -EINVAL;
	}
	return 0;
}

bool podinfo_match_labels(struct proc *p, const struct tag_vec *labels)
{
	struct sbuf text __cleanup(sbuf_release) = {0}, value __cleanup(sbuf_release) = {0};
	if (proc_read_in_root(p, PODINFO_LABELS, PODINFO_MAX, &text) < 0)
		return false;
	for (size_t i = 0; i < labels->cnt; i++) {
		sbuf_reset(&value);
		if (podinfo_label(sbuf_sv(&text), labels->data[i].key, &value) != 1 ||
		    !glob_match(labels->data[i].value, sbuf_sv(&value)))
			return false;
	}
	return true;
}
