/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TARGET_SPEC_H
#define TARGET_SPEC_H

#include "base/diagnostics.h"
#include "base/sbuf.h"
#include "base/vec.h"
#include "spanhound/exclude.h"
#include "trace/route.h"
#include "trace/span.h"

/* Which processes to choose and what to call them: one entry of `targets:`, or one option of the command line. */

struct target_policy;

struct sv_vec {
	struct sv *data;
	size_t cnt, cap;
};

struct int_vec {
	int *data;
	size_t cnt, cap;
};

struct tag_vec {
	struct tag *data;
	size_t cnt, cap;
};

/* Whether its requests get headers (app/injection.h), and how its sockets are enrolled for that. */
enum target_inject {
	TARGET_INJECT_UNSAID, /* as everybody else's */
	TARGET_INJECT_OFF,
	TARGET_INJECT_AUTO,
	TARGET_INJECT_PLAIN,
	TARGET_INJECT_VERDICT
};

struct exclude_vec {
	struct sh_exclude *data;
	size_t cnt, cap;
};

/* Whether its requests get TCP options, and are heard with theirs (app/tcp_option.h). */
enum target_option {
	TARGET_OPTION_UNSAID, /* as everybody else's */
	TARGET_OPTION_OFF,
	TARGET_OPTION_ON
};

/* Trace context on the wire. */
struct target_propagation {
	enum target_inject inject;
	enum target_option option;
	struct exclude_vec excludes; /* requests that go there get no headers (target/destination.h) */
};

/* Plain data. The kinds given are and-ed, the values within one kind or-ed; a kind left empty asks nothing, and a
 * spec without any kind matches nothing. The command line makes one spec per option, so that its options add up.
 * The strings belong to whoever made the spec (the YAML document, argv) and must outlive it. */
struct target_spec {
	struct sv_vec names;	  /* globs: comm, basename of the executable, or of the script an interpreter runs */
	struct sv_vec exes;	  /* globs over the executable's whole path, '*' crossing '/' */
	struct sv_vec cmdlines;	  /* globs over the arguments joined by spaces */
	struct sv_vec containers; /* globs over the container's name or id, or prefixes of the id */
	struct sv_vec units;	  /* globs over the systemd unit; without a type, ".service" is meant */
	struct sv_vec languages;  /* Datadog's word (python, jvm) or the runtime's name (CPython, Node.js), any case */
	struct tag_vec labels;	  /* of the container or its pod: all of them; values are globs */
	struct int_vec pids;	  /* as /proc shows them */
	struct int_vec ports;	  /* listening TCP ports in the process's own network namespace */
	bool listening;		  /* on any TCP port */
	bool follow_exec;	  /* a child stays chosen when it executes a program that does not match */
	struct sv service, env, version; /* empty: the process's own */
	struct tag_vec tags;
	struct tag_vec settings; /* names and values of trace/settings.def */
	struct target_propagation propagation;
	struct routes routes;		    /* of the paths of requests: tried first, then */
	const struct routes *more_routes;   /* these; NULL: none */
	const struct target_policy *policy; /* target/policy.h; NULL: none */
	uint32_t number;		    /* in the probe list, from 1; 0: not of a list */
	bool retired;			    /* of a list that changed: matches nothing any more */
	struct sv canonical;		    /* equal for specs that mean the same; empty: of the command line */
	struct source_pos pos;		    /* in the file it came from; all 0: the command line */
};

static inline void target_spec_release(struct target_spec *s)
{
	vec_release(&s->names);
	vec_release(&s->exes);
	vec_release(&s->cmdlines);
	vec_release(&s->containers);
	vec_release(&s->units);
	vec_release(&s->languages);
	vec_release(&s->labels);
	vec_release(&s->pids);
	vec_release(&s->ports);
	vec_release(&s->tags);
	vec_release(&s->settings);
	routes_release(&s->routes);
	vec_release(&s->propagation.excludes);
}

/* Whether it asks for anything at all. */
static inline bool target_spec_selects(const struct target_spec *s)
{
	return s->pids.cnt || s->names.cnt || s->exes.cnt || s->cmdlines.cnt || s->containers.cnt || s->units.cnt ||
	       s->languages.cnt || s->labels.cnt || s->ports.cnt || s->listening;
}
/* Whether only the runtime can tell what is meant. */
static inline bool target_spec_needs_names(const struct target_spec *s)
{
	return s->containers.cnt || s->labels.cnt;
}

/* "name 'ngin*' and port 80", for messages. */
void target_spec_describe(const struct target_spec *s, struct sbuf *out);

#endif
