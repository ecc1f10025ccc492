/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROBE_LIST_H
#define PROBE_LIST_H

#include "base/arena.h"
#include "base/diagnostics.h"
#include "base/sbuf.h"
#include "probe/condition.h"
#include "probe/template.h"
#include "probe/values.h"
#include "spanhound/spec.h"
#include "target/spec.h"
#include "trace/span_rules.h"

/* The probe list: what a person writes down in YAML, checked and compiled. Nothing here knows a process: whether a
 * function exists is for the attach plan to say, at the positions kept here.
 *
 *	targets:
 *	  - name: checkout
 *	    service: shop
 *	probes:
 *	  - function: charge_card
 *	    span: {name: payment.charge, resource: "{currency}", type: worker}
 *	    args: {amount: {at: 1, type: i64}, currency: {at: 2, type: string}}
 *	    when: amount > 100
 *	    error: return < 0
 *
 * Every key, its form and its meaning: probe_list_schema(); the tables it prints are the ones the parser obeys. */

#define PROBE_LIST_MAX_TARGETS	256
#define PROBE_LIST_MAX_PROBES	4096
#define PROBE_LIST_MAX_ITEMS	4096 /* values of one list, entries of one map */
#define PROBE_LIST_MAX_HANDOFFS 256
#define PROBE_DEFAULT_STRING_SZ 64 /* bytes captured of a string without max: */

/* A glob and where it was written. */
struct probe_glob {
	struct sv text;
	struct source_pos pos;
};

struct probe_glob_vec {
	struct probe_glob *data;
	size_t cnt, cap;
};

struct probe_tag {
	struct sv key;
	struct template value;
};

struct probe_metric {
	struct sv key;
	uint8_t value; /* index into call_values.v */
};

/* What the span of a call looks like. Empty strings and templates of no parts were not given. */
struct probe_span {
	struct template name;
	struct template resource;
	struct sv service, type, kind;
	const struct tag *constant_tags; /* the same for every call */
	const struct probe_tag *tags;	 /* those that must be rendered, the arguments' own among them */
	const struct probe_metric *metrics;
	uint16_t constant_tag_cnt, tag_cnt, metric_cnt;
};

/* When condition_eval(&when) holds, the span has error = 1 and these two. Without `error:` when.cnt is 0. */
struct probe_error {
	struct condition when;
	struct sv type;		 /* error.type; by default the condition as written */
	struct template message; /* error.message; by default "{function} returned {return}", or the condition */
};

enum probe_measure_type { MEASURE_COUNT, MEASURE_GAUGE, MEASURE_HISTOGRAM, MEASURE_DISTRIBUTION };
#define MEASURES_MAX	 8    /* of one probe */
#define MEASURE_MAX_TAGS 16   /* of one of them */
#define MEASURE_ONE	 0xff /* in place of a value: 1 for each call */
#define MEASURE_DURATION 0xfe /* milliseconds */

/* A metric that each call adds to. */
struct probe_measure {
	struct template name;
	uint8_t type;  /* enum probe_measure_type */
	uint8_t value; /* index into call_values.v, or one of the above */
	uint16_t tag_cnt;
	const struct probe_tag *tags;
};

struct probe {
	struct source_pos pos;
	struct sv canonical; /* equal for probes that mean the same; of one that is no file's, its option */
	int target;	     /* index into targets: for that one alone; -1: for every process that is traced */
	bool retired;	     /* of a list that changed: not wanted any more */
	bool off;	     /* taken off for a while, since it costs too much */
	bool at_run_time;    /* no file asks for it: it was added while we run */
	bool optional;	     /* finding nothing is a warning, not an error */
	bool broken;	     /* has mistakes (reported): usable for further checks, not for attaching */
	struct probe_glob_vec functions; /* exact names or globs; empty: `address` says where */
	struct probe_glob_vec excludes;
	struct probe_glob library; /* soname glob; empty: the executable */
	uint64_t address;	   /* ELF virtual address, when there are no functions */
	struct source_pos address_pos;

	struct sh_spec spec; /* for the kernel half, complete */
	struct sv capture_names[SH_MAX_CAPTURES];
	uint16_t
		redacted; /* a bit per capture: its name says that it is secret, and the list does not say to show it */
	uint8_t return_type; /* enum sh_type of the return register, for call_values_read(); SH_I32 unless declared */
	struct probe_span span;
	struct probe_error error;
	const struct probe_measure *measures;
	uint16_t measure_cnt;
	bool no_span; /* its calls are measured, and are no spans */
};

/* One side of a hand-off. */
struct probe_handoff_side {
	struct probe_glob_vec functions;
	uint8_t arg; /* what names the work: argument 1 to SH_MAX_ARGS; 0: what the function returns */
};

/* Work that one thread gives and another takes: what the second does then, it does for the same request. The same value is
 * seen on both sides: a pointer to the work, say. */
struct probe_handoff {
	struct source_pos pos;
	struct sv canonical;	   /* as probe.canonical */
	int target;		   /* as probe.target */
	bool optional;		   /* as probe.optional */
	bool broken;		   /* as probe.broken */
	struct probe_glob library; /* of both sides; empty: the executable */
	struct probe_handoff_side give, take;
};

/* What is captured of sockets. */
struct probe_capture {
	bool no_http;  /* nothing */
	uint32_t head; /* bytes of each message; 0: default */
};

/* 0: not given. */
struct probe_limits {
	uint32_t max_functions;
	uint32_t ring_size; /* bytes, a power of two */
	uint32_t max_traces;
	uint32_t max_spans;
	uint32_t queue_spans;
	uint32_t target_overhead; /* as sh_spec.sample_below, of one CPU */
	uint32_t memory;	  /* bytes */
};

/* What only a daemon obeys (spanhound serve). */
struct probe_service {
	bool not_listening;	  /* without targets: not even what listens on a TCP port */
	struct sv control_socket; /* path; empty: the default */
	struct sv health_listen;  /* unix:///PATH or ADDRESS:PORT; empty: nobody listens */
	struct source_pos health_pos;
};

struct probe_agent {
	struct sv url; /* http://, https:// or unix:// */
	struct sv host;
	uint32_t port;
	struct source_pos pos;
};

/* A setting as the file has it, for telling where it came from: the key with its parents ("agent.url"), or a variable
 * of `settings:`. */
struct probe_said {
	struct sv key, value;
	struct source_pos pos;
	int target; /* whose; -1: the file's */
};

/* Whom to ask for names and labels of containers. */
struct probe_containers {
	struct sv socket; /* unix:///PATH, NUL-terminated; empty: the usual places */
	struct source_pos pos;
};

struct probe_list {
	struct {
		struct probe_said *data;
		size_t cnt, cap;
	} said;
	struct {
		struct target_spec *data;
		size_t cnt, cap;
	} targets;
	struct {
		struct target_spec *data;
		size_t cnt, cap;
	} excludes; /* never chosen, whatever the targets say; only what selects is set */
	struct {
		struct probe *data;
		size_t cnt, cap;
	} probes;
	struct {
		struct probe_handoff *data;
		size_t cnt, cap;
	} handoffs;
	struct sv service, env, version; /* for every target that does not say otherwise */
	struct tag_vec tags;
	struct tag_vec settings;      /* likewise, variable by variable */
	struct span_rules span_rules; /* of all targets */
	struct routes routes;	      /* of every target, after its own */
	struct probe_capture capture;
	struct target_propagation propagation; /* of targets that do not say */
	struct probe_glob_vec exports;	       /* as --export takes them; not checked against the exporters here */
	struct probe_limits limits;
	struct probe_agent agent;
	struct probe_containers containers;
	bool trace_instrumented; /* also processes that carry a tracer of their own */
	struct probe_service service_of_daemon;
	struct probe_glob_vec includes; /* files and globs of them, as written */
	/* What is neither targets nor probes: what says something about every target, and what is obeyed at the start
	 * alone. Equal for lists that mean the same. */
	struct sv canonical_spread, canonical_fixed;
	/* Of a list that changes, see list_merge.h: the probes that are wanted, who lent each target, and to whom this one lent. */
	VEC(uint32_t) order;
	struct list_place *places;
	uint32_t lent;
	bool lent_for_good;
	struct arena arena;  /* all strings, templates, conditions */
};

/* Reads and compiles a probe list. All mistakes go to `d` (which keeps a copy of the text to show their lines):
 *	0        *ret is good; d may hold warnings
 *	-EINVAL  mistakes. *ret is what could be understood, for further checks (`broken` probes are marked),
 *	         or NULL when the text is not even YAML
 *	-ENOMEM, or the errno of reading the file: *ret is NULL, d says why
 * `name` is what messages call the file. The list owns everything in it and does not refer to `text` or `d`. */
int probe_list_load(struct probe_list **ret, const char *path, struct diagnostics *d);
/* The same for a daemon's configuration: it and what it includes must be files, and nobody but root and us may be able to
 * write them or the folders they are in (a mistake, which says so). */
int probe_list_load_guarded(struct probe_list **ret, const char *path, struct diagnostics *d);
/* `include:` is left to the caller: list.includes. */
int probe_list_parse(struct probe_list **ret, const char *name, const char *text, size_t len, struct diagnostics *d);
void probe_list_free(struct probe_list *list); /* NULL is fine */

/* An empty list, for probes given as options. NULL when out of memory. */
struct probe_list *probe_list_new(void);
/* One probe for every target, from "GLOB" or "LIBRARY:GLOB" (libssl.so*:SSL_read), with defaults for all else. 0;
 * -EINVAL with a sentence in err; -ENOMEM. */
int probe_list_add_function(struct probe_list *list, const char *text, struct sbuf *err);

/* Does obeying the probe read the target's memory (strings, pointers followed)? */
bool probe_reads_memory(const struct probe *p);
bool probe_list_reads_memory(const struct probe_list *list);
/* Does the kernel half do anything but record its calls: conditions, limits, values? Does it record values? */
bool probe_has_spec(const struct probe *p);
bool probe_list_has_specs(const struct probe_list *list);
bool probe_list_captures(const struct probe_list *list);
bool probe_list_measures(const struct probe_list *list);

/* The reference of all keys, for people. */
void probe_list_schema(struct sbuf *out);
/* The same as a JSON Schema, and as a file to begin with, in which all but the policy is a comment. */
void probe_list_json_schema(struct sbuf *out);
void probe_list_default(struct sbuf *out);

#endif
