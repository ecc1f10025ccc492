/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROBE_LIST_MERGE_H
#define PROBE_LIST_MERGE_H

#include "probe/list.h"

/* A list that changes while it is in use: what is in it never moves and never changes. Targets and probes are known by their
 * index; those that are not wanted any more are `retired`, and come back when the same is asked for again. So a file that goes
 * back and forth between two versions costs nothing after the second. A retired target goes when nobody uses it, and its place
 * is for others; a probe is known for as long as the list lives, and a file whose probes are always new is refused once the
 * list is full. */

#define LIST_MORE_TARGETS 1024 /* beyond those of the first file */
#define LIST_MORE_PROBES  1024

/* Room for what may come. Before anybody keeps a pointer into it. 0 or -ENOMEM. */
int probe_list_reserve(struct probe_list *list);

/* What became of list.order (the probes that are wanted now: the file's first, in its order), and of the targets. */
struct list_merge {
	uint32_t targets_added, targets_removed, probes_added, probes_removed;
	bool fixed_changed; /* something that is obeyed at the start alone is different: it stays as it was */
};

/* Makes `list` mean what `next` says. What is new moves over; *ret_kept: `next` must live on (strings of it are in use), until
 * `list` ends or it lends nothing any more. Probes added at run time stay. 0; -ENOSPC (nothing was changed) with a sentence in
 * err, -ENOMEM. */
int probe_list_merge(struct probe_list *list, struct probe_list *next, struct list_merge *ret, bool *ret_kept,
		     struct sbuf *err);
/* Adds the probes of `more` at run time; those that are there already are taken as they are. As above. */
int probe_list_merge_probes(struct probe_list *list, struct probe_list *more, struct list_merge *ret, bool *ret_kept,
			    struct sbuf *err);
/* Takes away what was added at run time. 0, -ENOENT: there is no such probe, -EPERM: it is the file's. */
int probe_list_merge_remove(struct probe_list *list, uint32_t index, struct list_merge *ret);

/* Gives back the retired targets of which `in_use` (by index) says that nobody uses them. */
void probe_list_vacate(struct probe_list *list, const bool *in_use);
/* Whether a list that was kept still has to be. */
bool probe_list_lends(const struct probe_list *lender);

#endif
