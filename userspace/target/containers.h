/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TARGET_CONTAINERS_H
#define TARGET_CONTAINERS_H

#include <stdint.h>

#include "base/sbuf.h"
#include "target/spec.h"

/* Names and labels of containers by their id, as a runtime's socket tells them. This is the table; who asks the socket is
 * the caller's (app/container_runtime.h), on a thread of its own:
 *
 *	matching a process asks for a container that is not in the table  ->  it is put down as wanted, `wake` is called
 *	containers_next() gives the asker the next one  ->  containers_answer() or containers_no_answer()
 *	the caller looks at its processes again.
 *
 * Nothing here waits for anybody: until the answer is there a container has no name and no labels. What a container was
 * told to be it stays (a rename is not noticed). Any thread. */
struct containers;

#define CONTAINERS_MAX	       4096 /* beyond: the one asked for longest ago goes */
#define CONTAINER_ID_MAX       80   /* bytes; longer ones are nobody's */
#define CONTAINER_NAME_MAX     256  /* bytes; cut */
#define CONTAINER_LABELS_MAX   128  /* of one container; further ones are left out */
#define CONTAINER_LABELS_BYTES (32u << 10)
#define CONTAINERS_RETRY_NS    (10ULL * 1000000000) /* after an asker gave up on one */

/* `wake` (may be NULL) is called under the table's lock: it must only signal. NULL when out of memory. */
struct containers *containers_new(void (*wake)(void *arg), void *arg);
void containers_free(struct containers *t); /* NULL is fine */

/* Whether its name matches one of the globs. */
bool containers_match_name(struct containers *t, struct sv id, const struct sv_vec *globs);
/* Whether it has every one of these labels, values as globs. */
bool containers_match_labels(struct containers *t, struct sv id, const struct tag_vec *labels);
/* Its name, if it is known, is appended. */
void containers_name(struct containers *t, struct sv id, struct sbuf *out);

/* The id of the next one that is wanted, NUL-terminated; false: there is none. It is the asker's until he answers. */
bool containers_next(struct containers *t, uint64_t now_ns, char ret_id[CONTAINER_ID_MAX + 1]);
/* The runtime's JSON (GET /containers/ID/json of Docker's API): Name, Config.Labels. 0; -EBADMSG: it is not that, and the
 * container counts as one the runtime does not know. */
int containers_answer(struct containers *t, const char *id, struct sv json);
/* `unknown`: the runtime says there is no such container, which stands. Else it is asked again CONTAINERS_RETRY_NS later,
 * when somebody still wants it. */
void containers_no_answer(struct containers *t, const char *id, bool unknown, uint64_t now_ns);

struct containers_stats {
	uint32_t known, wanted, asked;
	uint64_t evicted;
};
void containers_stats(struct containers *t, struct containers_stats *ret);

/* --- Kubernetes' downward API ------------------------------------------------------------------------------------- */

/* The labels of its pod, as the file of a downward API volume gives them: key="value" lines, the value quoted as Go's
 * strconv.Quote does. Looks for `key`; 1 with the value appended, 0 when it is not there, -EINVAL: not such a file. */
int podinfo_label(struct sv text, struct sv key, struct sbuf *ret_value);
#define PODINFO_LABELS "/etc/podinfo/labels" /* where Kubernetes' documentation mounts it */
#define PODINFO_MAX    (64 << 10)

struct proc;
/* Whether the process's pod has all these labels. False when there is no such file. */
bool podinfo_match_labels(struct proc *p, const struct tag_vec *labels);

#endif
