/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MAPS_BPF_H
#define MAPS_BPF_H

/* Every map and shared variable, defined once in maps.bpf.c; other files reach them through these helpers. */

#include "kernel.bpf.h"
#include "spanhound/context.h"
#include "spanhound/events.h"
#include "spanhound/spec.h"

struct ring_map {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096); /* the real size is chosen when the user half creates one per CPU */
};

struct rings_map {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1); /* possible CPUs, set before load */
	__uint(key_size, sizeof(u32));
	__array(values, struct ring_map);
};

/* A struct sh_context, and a struct sh_arena behind it when settings.captures: one lookup finds both. */
struct contexts_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, SH_MAX_THREADS);
	__uint(key_size, sizeof(u64));
	__uint(value_size, sizeof(struct sh_context)); /* kernel_options.captures */
};

/* The zeroed value new contexts start from: too large for the BPF stack. */
struct blank {
	struct sh_context context;
	struct sh_arena arena;
};

struct blanks_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct blank);
};

struct processes_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, SH_MAX_PROCESSES);
	__type(key, u32);
	__type(value, struct sh_process);
};

struct conns_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, SH_MAX_CONNS);
	__type(key, u64);
	__type(value, struct sh_conn);
};

struct handoffs_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, SH_MAX_HANDOFFS);
	__type(key, struct sh_handoff);
	__type(value, struct sh_span_context);
};

struct tasks_map {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SH_MAX_TASKS);
	__type(key, struct sh_task);
	__type(value, struct sh_task_work);
};

/* Where a record with bytes is put together: too large for the stack, too variable for a reservation. */
/* One socket, found by its descriptor. */
struct socket_place {
	struct sock *sk;
	u64 ino;
	u16 family;
	bool event; /* no socket: an eventfd, timerfd, signalfd ... */
};

/* What a system call did to one socket. */
struct io {
	u64 key; /* of the thread */
	struct socket_place socket;
	u64 data; /* where the bytes are, in the process: by `form` */
	u32 count;
	u32 form;
	u32 len; /* bytes that passed */
	u32 direction;
	u32 want, copied, passed; /* of a vectored call, while its pieces are gathered */
	u32 process;		  /* SH_PROCESS_* */
	u32 puts_off;		  /* of a request that is read: the thread may leave it for later from here on */
};

struct data_scratch {
	struct sh_ev_data event;
	u8 bytes[2 * SH_MAX_HEAD]; /* twice: the verifier bounds offset and length apart */
	struct io io;		   /* not on the stack: before 6.13 there are 512 bytes of it for all calls */
};

struct scratch_map {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct data_scratch);
};

struct images_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct sh_image);
	__type(value, struct sh_process);
};

struct functions_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* kernel_options.max_functions */
	__type(key, u32);
	__type(value, struct sh_func);
};

struct specs_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* kernel_options.max_specs */
	__type(key, u32);
	__type(value, struct sh_spec);
};

extern struct rings_map rings SEC(".maps");
extern struct contexts_map contexts SEC(".maps");
extern struct blanks_map blanks SEC(".maps");
extern struct processes_map processes SEC(".maps");
extern struct conns_map conns SEC(".maps");
extern struct handoffs_map handoffs SEC(".maps");
extern struct tasks_map tasks SEC(".maps");
extern struct scratch_map scratch SEC(".maps");
extern struct images_map images SEC(".maps");
extern struct functions_map functions SEC(".maps");
extern struct specs_map specs SEC(".maps");

extern struct sh_shared shared;
extern const volatile struct sh_settings settings;

static __always_inline void count_drop(u32 func, u32 reason)
{
	__sync_fetch_and_add(&shared.drops[reason & (SH_KERNEL_DROPS - 1)], 1);
	struct sh_func *f = bpf_map_lookup_elem(&functions, &func);
	if (f)
		__sync_fetch_and_add(&f->dropped, 1);
}

static __always_inline bool process_chosen(u32 tgid)
{
	return bpf_map_lookup_elem(&processes, &tgid) != NULL;
}

#endif
