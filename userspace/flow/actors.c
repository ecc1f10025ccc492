/* SPDX-License-Identifier: Apache-2.0 */
#include "flow/actors.h"

#include <stdlib.h>
#include <uthash.h>

/* How long what is known of a process outlives it: records of its last calls may still be in another CPU's ring. */
#define PROCESS_LINGER_NS 1000000000ULL

/* Names of threads kept for one process: a thread for each request must not cost memory for ever. */
#define MAX_THREADS   4096

#define ACTORS_LATELY 16 /* a power of two */

struct thread {
	uint32_t tid;
	char name[SH_COMM_LEN + 1];
	UT_hash_handle hh;
};

struct actor {
	uint32_t tgid;
	uint64_t gone_ns; /* 0: alive */
	struct process_info *info;
	struct request_settings *requests;
	struct thread *threads;
	UT_hash_handle hh;
};

struct actors {
	struct actors_options options;
	struct actor *all;
	struct request_settings_set *settings;
	void (*want)(void *arg, const struct request_settings *settings);
	void *want_arg;
	struct actor *lately[ACTORS_LATELY]; /* of the last records, by tgid: those of a few processes come in runs */
	uint64_t next_sweep_ns;
};

struct actors *actors_new(const struct actors_options *options,
			  void (*want)(void *arg, const struct request_settings *settings), void *want_arg)
{
	struct actors *a = calloc(1, sizeof(*a));
	if (!a)
		return NULL;
	a->options = *options;
	a->want = want;
	a->want_arg = want_arg;
	a->settings = request_settings_set_new();
	if (a->settings)
		return a;
	free(a);
	return NULL;
}

static void actor_free(struct actors *a, struct actor *p)
{
	struct thread *t, *next;
	HASH_ITER (hh, p->threads, t, next) {
		HASH_DEL(p->threads, t);
		free(t);
	}
	HASH_DEL(a->all, p);
	struct actor **lately = &a->lately[p->tgid % ACTORS_LATELY];
	if (*lately == p)
		*lately = NULL;
	process_info_unref(p->info);
	request_settings_unref(p->requests);
	free(p);
}

void actors_free(struct actors *a)
{
	if (!a)
		return;
	struct actor *p, *next;
	HASH_ITER (hh, a->all, p, next)
		actor_free(a, p);
	request_settings_set_free(a->settings);
	free(a);
}

static struct request_settings *actors_settings(struct actors *a, const struct process_info *info)
{
	struct sbuf words = {0};
	bool made;
	struct request_settings *s = request_settings_get(a->settings, info->settings, &made, &words);
	if (s && made && a->want)
		a->want(a->want_arg, s);
	if (made && words.len && a->options.mistakes)
		a->options.mistakes(a->options.arg, info, sbuf_sv(&words));
	sbuf_release(&words);
	return s;
}

/* Takes the reference over. False when out of memory: what was known stays. */
static bool actor_is(struct actors *a, struct actor *p, struct process_info *info)
{
	if (!p->requests || !sv_eq(p->requests->text, info->settings)) {
		struct request_settings *s = actors_settings(a, info);
		if (!s) {
			process_info_unref(info);
			return false;
		}
		request_settings_unref(p->requests);
		p->requests = s;
	}
	process_info_unref(p->info);
	p->info = info;
	return true;
}

void actors_refresh(struct actors *a)
{
	struct actor *p, *next;
	HASH_ITER (hh, a->all, p, next) {
		struct process_info *info = a->options.process(a->options.arg, p->tgid);
		if (info)
			actor_is(a, p, info);
	}
}

struct actor *actors_get(struct actors *a, uint32_t tgid)
{
	struct actor **lately = &a->lately[tgid % ACTORS_LATELY], *p;
	if (*lately && (*lately)->tgid == tgid)
		return *lately;
	HASH_FIND_INT(a->all, &tgid, p);
	if (!p) {
		struct process_info *info = a->options.process(a->options.arg, tgid);
		p = info ? calloc(1, sizeof(*p)) : NULL;
		if (!p) {
			process_info_unref(info);
			return NULL;
		}
		p->tgid = tgid;
		if (!actor_is(a, p, info)) {
			free(p);
			return NULL;
		}
		HASH_ADD_INT(a->all, tgid, p);
	}
	return *lately = p;
}

struct process_info *actor_info(const struct actor *p)
{
	return p->info;
}

const struct request_settings *actor_requests(const struct actor *p)
{
	return p->requests;
}

struct sv actor_thread_name(const struct actor *p, uint32_t tid)
{
	struct thread *t;
	HASH_FIND_INT(p->threads, &tid, t);
	return t ? sv_of(t->name) : SV_NULL;
}

static void actors_thread(struct actors *a, const struct sh_ev_proc *e)
{
	struct actor *p = actors_get(a, e->tgid);
	if (!p)
		return;
	struct thread *t;
	HASH_FIND_INT(p->threads, &e->tid, t);
	if (!t) {
		if (HASH_COUNT(p->threads) >= MAX_THREADS) {
			t = p->threads; /* the first that was added */
			HASH_DEL(p->threads, t);
		} else {
			t = malloc(sizeof(*t));
		}
		if (!t)
			return;
		*t = (struct thread){0};
		t->tid = e->tid;
		HASH_ADD_INT(p->threads, tid, t);
	}
	memcpy(t->name, e->comm, SH_COMM_LEN);
}

void actors_event(struct actors *a, const struct sh_ev_proc *e, uint64_t now_ns)
{
	struct actor *p;
	switch (e->hdr.kind) {
	case SH_EV_THREAD:
		actors_thread(a, e);
		return;
	case SH_EV_FORK: /* the number may have been another process's */
		HASH_FIND_INT(a->all, &e->tgid, p);
		if (p)
			actor_free(a, p);
		break;
	case SH_EV_EXIT:
		p = actors_get(a, e->tgid);
		if (p)
			p->gone_ns = now_ns;
		break;
	}
	a->options.process_event(a->options.arg, e);
}

void actors_pass(struct actors *a, uint64_t now_ns)
{
	struct actor *p, *next;
	if (now_ns < a->next_sweep_ns)
		return;
	a->next_sweep_ns = now_ns + PROCESS_LINGER_NS;
	HASH_ITER (hh, a->all, p, next) {
		if (p->gone_ns && now_ns - p->gone_ns > PROCESS_LINGER_NS)
			actor_free(a, p);
	}
}
