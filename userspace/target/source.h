/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TARGET_SOURCE_H
#define TARGET_SOURCE_H

#include "base/arena.h"
#include "target/language.h"
#include "target/spec.h"

/* What a process was built from and how it was started, as Datadog's tracers tell it once with each chunk. */

/* Variables that change it, NULL at the end. */
extern const char *const source_variables[];

/* Slices of what was given, or in the arena. */
struct source {
	/* DD_GIT_COMMIT_SHA, git.commit.sha of DD_TAGS, or what the Go compiler or the Python package has written down */
	struct sv commit;
	/* DD_GIT_REPOSITORY_URL, git.repository_url of DD_TAGS, or the Python package's; without user and password */
	struct sv repository;
	struct sv go_path;	  /* the main package of a Go program */
	struct sv python_package; /* DD_MAIN_PACKAGE of a Python program */
	/* "entrypoint.basedir:shop,entrypoint.name:app,entrypoint.type:script,entrypoint.workdir:shop,svc.user:true",
	 * sorted, values normalised (ddtrace/internal/process_tags). */
	struct sv process_tags;
};

struct source_options {
	/* The value of a variable, whoever says it first; false: nobody. */
	bool (*variable)(void *arg, const char *name, struct sv *ret);
	void *arg;
	const struct language *language;
	struct sv service;
	bool service_told; /* not inferred */
};

/* Takes git.* out of the tags, whatever becomes of them. False: memory is out. */
bool source_find(struct proc *p, const struct source_options *options, struct tag_vec *tags, struct arena *arena,
		 struct source *ret);

/* The name that DD_SERVICE_MAPPING ("from:to,from:to") has for a service; itself when it has none. 0 or -ENOMEM. */
int source_map_service(struct sv mapping, struct sv *service);

/* true, 1 and the like, in any case (ddtrace's asbool). */
bool source_is_true(struct sv value);

#endif
