/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_INJECTION_H
#define APP_INJECTION_H

#include <stdio.h>

#include "kernel/inject.h"
#include "kernel/kernel.h"
#include "target/procfs.h"
#include "target/spec.h"
#include "trace/span.h"

/* Whose requests get headers. Only processes of which it is known what they do on their sockets, and only where this kernel
 * carries that. */

struct injection {
	enum target_inject standard;	   /* of processes whose target does not say; not UNSAID */
	uint32_t no_mode, unknown, styles; /* processes without, and why */
	uint64_t older;			   /* connections enrolled that are older than us */
	uint64_t older_ns;		   /* what finding and enrolling them took */
	uint32_t turned;		   /* processes that began to do what their sockets did not carry any more */
	uint64_t withdrawn;		   /* connections of theirs that were taken out for that */
	bool withheld_said, off_said, full_said;
	/* The patterns of all targets so far: the kernel half's table. */
	struct sh_exclude excludes[SH_MAX_EXCLUDES];
	uint32_t exclude_cnt;
	__u64 exclude_all; /* of them, those of every target */
};

/* Whether anybody may get headers: `asked` on the command line, or by the list for all targets or one of them. */
bool injection_wanted(bool asked, struct target_propagation all, const struct target_spec *targets, size_t cnt);

/* Whether connections are enrolled that have to be met in their own network namespace. */
bool injection_enters(struct target_propagation all, const struct target_spec *targets, size_t cnt);

/* What holds for all targets; once the programs are loaded. */
void injection_begin(struct injection *i, struct kernel *k, const struct target_propagation *all);

/* Which patterns are for a process chosen by `spec`: as->excludes. Where there are too many different ones (said once) it gets
 * no headers at all, nor TCP options. */
void injection_exclude(struct injection *i, struct kernel *k, const struct target_spec *spec, struct sh_process *as);

/* What a process gets whose target does not say; `asked` as above, and before the list. */
enum target_inject injection_standard(bool asked, struct target_propagation all);

/* Why a process gets no headers. */
enum injection_left {
	INJECTION_NOT_LEFT, /* it does */
	INJECTION_NOT_ASKED,
	INJECTION_NOWHERE, /* this kernel cannot: inject_status.why_not */
	INJECTION_UNKNOWN,
	INJECTION_NO_MODE,
	INJECTION_STYLES,
};
struct injection_choice {
	enum injection_left left;
	enum inject_mode mode; /* if it gets some */
	uint32_t flags;	       /* SH_PROCESS_INJECT*, or 0 */
	uint32_t does;	       /* INJECT_*, if that is known */
};
/* `how`: what its target says, or injection_standard(). */
struct injection_choice injection_choose(const struct inject_status *status, enum target_inject how, struct proc *p,
					 const struct process_info *info);
/* For people, why not; empty: it gets some. */
void injection_explain(const struct injection_choice *c, const struct inject_status *status, struct sbuf *out);

/* SH_PROCESS_INJECT* for a process chosen by `spec`, or 0; with the reason counted, unless it was not asked for. */
uint32_t injection_flags(struct injection *i, const struct inject_status *status, const struct target_spec *spec,
			 struct proc *p, const struct process_info *info);

/* sh_process.reads, where its flags have SH_PROCESS_READS_OTHERWISE. */
uint16_t injection_reads(const struct process_info *info);

/* Which styles it writes and reads, as SH_PROCESS_*; 0: it wants nothing written, or something that the kernel half does not know: ids
 * of 64 bits, shorter tags. */
uint32_t injection_styles(const struct process_info *info);

/* The connections that a process chosen with these flags has already; after kernel_choose_process(). What is not enrolled is
 * counted by reason; that descriptors are withheld is said, once. */
void injection_enrol(struct injection *i, struct kernel *k, struct proc *p, uint32_t flags);

/* The process began to do what its sockets do not carry (`does`: SH_DOES_*): they are taken out, it is said, and counted. The kernel
 * half puts nothing into its requests any more. Chosen anew (its target changed, it executed another program) it is another one. */
void injection_turned(struct injection *i, struct kernel *k, struct proc *p, uint32_t does);

const char *injection_reason_name(unsigned reason); /* enum sh_inject; NULL: none */
void injection_print(const struct injection *i, struct kernel *k, FILE *out);
void injection_json(const struct injection *i, struct kernel *k, struct sbuf *out);

#endif
