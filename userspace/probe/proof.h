/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROBE_PROOF_H
#define PROBE_PROOF_H

#include "binary/calls.h"
#include "probe/module.h"

/* The proof, function by function of one module, that no exception can pass: what allows a return probe in a process in
 * which others do throw. */
struct proof;

struct proof *proof_new(struct module *m); /* NULL when out of memory */
void proof_free(struct proof *p);	   /* NULL is fine */
/* False also when it could not be found out. */
bool proof_never_unwinds(struct proof *p, uint64_t vaddr);

#endif
