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
 * carries that: by the program they run, or because they were watched for a while (bpf/guard.bpf.h). */

struct injection {
	enum target_inject standard;	  /* of processes whose target does not say; not UNSAID */
	bool unasked;			  /* nobody said that there should be headers: they are the standard */
	uint32_t no_mode, styles;	  /* processes without, and why */
	uint32_t watched, passed, failed; /* processes that were watched first, and what became of them since */
	uint64_t older;			  /* connections enrolled that are older than us */
	uint64_t older_ns;		  /* what finding and enrolling them took */
	uint32_t turned;		  /* processes that began to do what their sockets did not carry any more */
	uint64_t withdrawn;		  /* connections of theirs that were taken out for that */
	bool withheld_said, off_said, full_said;
	/* The patterns of all targets so far: the kernel half's table. */
	struct sh_exclude excludes[SH_MAX_EXCLUDES];
	uint32_t exclude_cnt;
	__u64 exclude_all; /* of them, those of every target */
};

/* Whether anybody may get headers: `asked` on the command line, or by the list for all targets or one of them. */
bool injection_wanted(bool asked, struct target_propagation all, const struct target_spec *targets, size_t cnt);

/* Whether, as nobody asked for it, it is of use: to a process that runs already, or to whoever comes, as none does yet. */
bool injection_useful(const struct inject_status *status, const struct target_spec *targets, size_t cnt);

/* Whether connections are enrolled that have to be met in their own network namespace. */
bool injection_enters(struct target_propagation all, const struct target_spec *targets, size_t cnt);

/* What holds for all targets; once the programs are loaded. */
void injection_begin(struct injection *i, struct kernel *k, const struct target_propagation *all);

/* What else a process chosen by `spec` is to have: as->may_wait, and as->excludes, which patterns are for it. Where there are too many
 * different ones (said once) it gets no headers at all, nor TCP options. */
void injection_settings(struct injection *i, struct kernel *k, const struct target_spec *spec, struct sh_process *as);

/* What a process gets whose target does not say; `asked` as above, and before the list. */
enum target_inject injection_standard(bool asked, struct target_propagation all);

/* Why a process gets no headers. */
enum injection_left {
	INJECTION_NOT_LEFT, /* it does */
	INJECTION_NOT_ASKED,
	INJECTION_NOWHERE, /* this kernel cannot: inject_status.why_not */
	INJECTION_WATCHED, /* it does not yet */
	INJECTION_NO_MODE,
	INJECTION_STYLES,
};
struct injection_choice {
	enum injection_left left;
	enum inject_mode mode; /* if it gets some */
	uint32_t flags;	       /* SH_PROCESS_INJECT*, SH_PROCESS_WATCH, or 0 */
	uint32_t does;	       /* INJECT_*, if that is known */
};
/* `how`: what its target says, or injection_standard(). `seen`: what the kernel half saw of it so far; all zero: nothing. */
struct injection_choice injection_choose(const struct inject_status *status, enum target_inject how, struct proc *p,
					 const struct process_info *info, const struct sh_watched *seen);
/* For people, why not, or not yet; empty: it gets some. */
void injection_explain(const struct injection_choice *c, const struct inject_status *status, struct sbuf *out);

/* SH_PROCESS_INJECT*, SH_PROCESS_WATCH for a process chosen by `spec`, or 0; with the reason counted, unless it was not asked for. */
uint32_t injection_flags(struct injection *i, const struct inject_status *status, const struct target_spec *spec,
			 struct proc *p, const struct process_info *info, const struct sh_watched *seen);

/* sh_process.reads, where its flags have SH_PROCESS_READS_OTHERWISE. */
uint16_t injection_reads(const struct process_info *info);

/* Which styles it writes and reads, as SH_PROCESS_*; 0: it wants nothing written, or something that the kernel half does not know: ids
 * of 64 bits, shorter tags. */
uint32_t injection_styles(const struct process_info *info);

/* The connections that a process chosen as that has already; after kernel_choose_process(). What is not enrolled is
 * counted by reason; that descriptors are withheld is said, once. */
void injection_enrol(struct injection *i, struct kernel *k, struct proc *p, const struct sh_process *as);

/* What the process does on its sockets is known now (`does`: SH_DOES_*); it is said, and counted. Something that they do not carry:
 * they are taken out, and the kernel half puts nothing into its requests any more, until it executes another program. It was
 * watched, and does nothing of that: the connections that it has are enrolled as injection_enrol() does. */
void injection_turned(struct injection *i, struct kernel *k, struct proc *p, uint32_t does);

/* What injection_turned() is to be told of a process of which the kernel half saw so much; 0: nothing. */
uint32_t injection_seen(const struct sh_watched *seen);

const char *injection_reason_name(unsigned reason); /* enum sh_inject; NULL: none */
void injection_print(const struct injection *i, struct kernel *k, FILE *out);
void injection_json(const struct injection *i, struct kernel *k, struct sbuf *out);

#endif
