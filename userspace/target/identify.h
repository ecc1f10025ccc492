/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TARGET_IDENTIFY_H
#define TARGET_IDENTIFY_H

#include "target/language.h"
#include "target/procfs.h"
#include "target/spec.h"

/* Who a process is, for its spans: struct process_info, made from its environment and command line.
 *
 * service: the target spec's, else from the process's environment DD_SERVICE, OTEL_SERVICE_NAME, the `service` of
 *   DD_TAGS, `service.name` of OTEL_RESOURCE_ATTRIBUTES (these set service_source to "m"), else a default as below.
 *   (A probe's own service is put into its spans and never comes here.)
 * env: spec, DD_ENV, `env` of DD_TAGS, deployment.environment.name, deployment.environment of OTEL_RESOURCE_ATTRIBUTES.
 * version: spec, DD_VERSION, `version` of DD_TAGS, service.version of OTEL_RESOURCE_ATTRIBUTES.
 * tags: the spec's, then DD_TAGS (when unset OTEL_RESOURCE_ATTRIBUTES, the first ten, as ddtrace does: ddtrace
 *   internal/settings/_otel_remapper.py), without service, env and version; one per key, the spec winning.
 *
 * The default service says what runs, and is never the name of an interpreter:
 *   executable      its name, or that of the link to it     /usr/sbin/nginx             nginx
 *   script          its name without extension              python3 /srv/checkout.py    checkout
 *   python -m       the module                              python3 -m shop.worker      shop.worker
 *   java            the class's last part, or the jar's name without version
 *                                                           java -jar shop-1.2.jar      shop
 *   app servers     the application they were given         gunicorn shop.wsgi:app      shop
 *   a name that says nothing (app, main, server, index, manage, wsgi ...)
 *                   the directory it lies in, passing over src, bin, dist ...; for dotted names the package
 *                                                           node /srv/shop/src/index.js shop
 *   inline code     the Datadog Agent's own word            python3 -c '...'            unnamed-python-service
 * ddtrace itself always takes the directory (internal/settings/_inferred_base_service.py): equal where the script's
 * name says nothing, and where it does, two scripts of one directory stay apart. */

/* Where it comes from, for people: a variable's name, or IDENTIFY_BY_SPEC; NULL: nothing was said (the service is the
 * default then, the others are empty). */
#define IDENTIFY_BY_SPEC "configuration"
struct identify_details {
	const char *service_from, *env_from, *version_from;
	struct language language;
};

struct identify_options {
	struct identify_details *details; /* filled in when the process is; NULL: not wanted */
	const struct target_spec *spec;	  /* NULL: none */
	struct languages *languages;	  /* what is known of files; NULL: nothing is kept */
	struct sv hostname;		  /* of this machine; identify_hostname() */
	/* Our own settings for requests, as text for environ_get(): they come before the spec's, and those before the
	 * process's own. */
	struct sv environment;
};

/* A new process_info with one reference, in one block of memory; 0, -ESRCH or -ENOMEM. What may not be read
 * (-EACCES) is left at its default. */
int identify_process(struct proc *p, const struct identify_options *options, struct process_info **ret);

/* The same identity for a forked child, which has its own pids and runtime id; NULL when out of memory. */
struct process_info *identify_fork(const struct process_info *parent, uint32_t pid, uint32_t ns_pid);

/* gethostname(2) of ours, for the program's whole life; "" when it has none. */
struct sv identify_hostname(void);

/* The default service alone, into a buffer; never empty. */
void identify_default_service(struct proc *p, struct sv language, struct sbuf *out);

/* DD_TAGS text: "key:value" separated by commas, or by spaces when there is no comma; the first colon separates; a key
 * without one has an empty value; the last of equal keys wins (ddtrace internal/utils/formats.py parse_tags_str).
 * Slices of `text` are added; 0 or -ENOMEM. */
int tags_parse(struct sv text, struct tag_vec *ret);
/* The value of a key; false when it is not there. */
bool tags_get(const struct tag_vec *tags, const char *key, struct sv *ret);

#define IDENTIFY_MAX_TAGS      128 /* of one process; further ones are left out */
#define IDENTIFY_MAX_OTEL_TAGS 10  /* ddtrace's limit on tags derived from resource attributes */

/* A random UUID version 4 in its 36-character form and a NUL (RFC 9562). */
#define UUID_LEN 36
void uuid_make(char out[UUID_LEN + 1]);

#endif
