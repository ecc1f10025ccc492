/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KERNEL_CAPABILITIES_H
#define KERNEL_CAPABILITIES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/sbuf.h"
#include "kernel/links.h"

/* What this kernel and this process can do, found by trying, never by version. */
struct capability {
	bool works;
	char why_not[96]; /* empty when it works */
};

enum capability_id {
#define CAPABILITY(id, enables) CAPABILITY_##id,
#include "kernel/capabilities.def"
#undef CAPABILITY
	CAPABILITY_CNT,
};

struct capabilities {
	struct capability is[CAPABILITY_CNT];
};

const char *capability_name(enum capability_id id);
/* What it makes possible, for people. */
const char *capability_enables(enum capability_id id);

/* Tries them all: some milliseconds, with a few probes on a private function of our own. */
void capabilities_probe(struct capabilities *ret);
/* The best kind of link there is; -ENOTSUP with the reason and what to do about it. */
int capabilities_choose_link(const struct capabilities *c, struct sbuf *err);

/* The same quickly, without trying what is not needed: enum link_kind or -errno. */
int link_kind_choose(struct sbuf *err);
/* Does the kind that was asked for work? 0 or -errno. */
int link_kind_check(enum link_kind kind, struct sbuf *err);
bool capability_sleepable(enum link_kind link);
bool capability_seccomp_return(enum link_kind link);

/* What a probe costs the traced thread on this machine now, in ns per call with an empty program. 0: not measured. */
enum price_class {
	PRICE_NOP5,
	PRICE_EMULATED,
	PRICE_SINGLE_STEP,
	PRICE_CLASSES,
};
struct price_list {
	double entry_ns[PRICE_CLASSES];	      /* probe at entry alone, or at an end site of that class */
	double with_return_ns[PRICE_CLASSES]; /* entry and return, by the given kind of link */
};
int price_list_measure(enum link_kind link, struct price_list *ret, struct sbuf *err);

#endif
