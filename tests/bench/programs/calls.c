/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program to be probed that measures itself. Reads commands from standard input, answers each with one line:
 *
 *   site FUNCTION                 file offsets of the symbol and of its `push`, the instruction spanhound moves to
 *   time FUNCTION CALLS           nanoseconds that so many calls took
 *   pace FUNCTION RATE SECONDS    calls at an even rate: calls made, nanoseconds, 1 if the checksum is right
 *   loop FUNCTION SECONDS THREADS calls without pause on all threads: the same
 *
 * Built with -fcf-protection=full -fno-omit-frame-pointer: every function starts with endbr64 and push %rbp.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_THREADS 16
#define PACE_NS	    1000000 /* calls come in bursts of so long */

__attribute__((noipa)) static uint64_t weigh(const char *text)
{
	return (unsigned char)text[0];
}

/* Equal but for the constant, which keeps them apart and enters the checksum. They call something: else no push. */
#define FUNCTION(name, constant)                                                       \
	__attribute__((noipa)) uint64_t name(uint64_t a, uint64_t b, const char *text) \
	{                                                                              \
		return a * (constant) + b + weigh(text);                               \
	}

#define FUNCTIONS(X)       \
	X(call_bare, 3)    \
	X(call_empty, 5)   \
	X(call_entry, 7)   \
	X(call_span, 11)   \
	X(call_values, 13) \
	X(call_when, 17)   \
	X(call_symbol, 19) \
	X(call_other, 23)

FUNCTIONS(FUNCTION)

static const struct function {
	const char *name;
	uint64_t (*call)(uint64_t a, uint64_t b, const char *text);
	uint64_t constant;
} functions[] = {
#define ROW(name, constant) {#name, name, constant},
	FUNCTIONS(ROW)
#undef ROW
};

static const char sixteen[] = "0123456789abcdef";

static uint64_t now_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static uint64_t call_many(const struct function *f, uint64_t first, uint64_t cnt)
{
	uint64_t sum = 0;
	for (uint64_t i = first; i < first + cnt; i++)
		sum += f->call(i, 1, sixteen);
	return sum;
}

static uint64_t expected(const struct function *f, uint64_t first, uint64_t cnt)
{
	uint64_t sum = 0;
	for (uint64_t i = first; i < first + cnt; i++)
		sum += i * f->constant + 1 + (unsigned char)sixteen[0];
	return sum;
}

static void answer_site(const struct function *f)
{
	static const unsigned char endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};
	const unsigned char *code = (const unsigned char *)(uintptr_t)f->call;
	uintptr_t at = (uintptr_t)f->call;
	char line[4096];
	FILE *maps = fopen("/proc/self/maps", "re");
	while (maps && fgets(line, sizeof(line), maps)) {
		uintptr_t start, end;
		uint64_t offset;
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %*s %" SCNx64, &start, &end, &offset) != 3 || at < start ||
		    at >= end)
			continue;
		size_t skip = memcmp(code, endbr64, sizeof(endbr64)) == 0 ? sizeof(endbr64) : 0;
		if (code[skip] != 0x55)
			printf("no push at the start of %s\n", f->name);
		else
			printf("%" PRIu64 " %" PRIu64 "\n", at - start + offset, at - start + offset + skip);
		break;
	}
	if (maps)
		fclose(maps);
}

static void answer_time(const struct function *f, uint64_t cnt)
{
	uint64_t start = now_ns();
	uint64_t sum = call_many(f, 0, cnt);
	uint64_t took = now_ns() - start;
	printf("%" PRIu64 " %d\n", took, sum == expected(f, 0, cnt));
}

static void answer_pace(const struct function *f, uint64_t rate, double seconds)
{
	uint64_t start = now_ns(), done = 0, sum = 0, now;
	uint64_t end = start + (uint64_t)(seconds * 1e9);
	while ((now = now_ns()) < end) {
		uint64_t due = (uint64_t)((double)(now - start) * (double)rate / 1e9);
		sum += call_many(f, done, due - done);
		done = due;
		struct timespec pause = {0, (long)PACE_NS};
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	}
	printf("%" PRIu64 " %" PRIu64 " %d\n", done, now_ns() - start, sum == expected(f, 0, done));
}

struct worker {
	const struct function *function;
	uint64_t end_ns, done, sum;
	pthread_t thread;
};

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	while (now_ns() < w->end_ns) {
		w->sum += call_many(w->function, w->done, 1000);
		w->done += 1000;
	}
	return NULL;
}

static void answer_loop(const struct function *f, double seconds, unsigned threads)
{
	struct worker workers[MAX_THREADS];
	uint64_t start = now_ns(), done = 0;
	int right = 1;
	threads = threads < MAX_THREADS ? threads : MAX_THREADS;
	for (unsigned i = 0; i < threads; i++) {
		workers[i] = (struct worker){.function = f, .end_ns = start + (uint64_t)(seconds * 1e9)};
		if (pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]))
			exit(1);
	}
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(workers[i].thread, NULL);
		done += workers[i].done;
		right &= workers[i].sum == expected(f, 0, workers[i].done);
	}
	printf("%" PRIu64 " %" PRIu64 " %d\n", done, now_ns() - start, right);
}

int main(void)
{
	char line[256], verb[16], name[32];
	double first, second;
	setvbuf(stdout, NULL, _IOLBF, 0);
	while (fgets(line, sizeof(line), stdin)) {
		const struct function *f = NULL;
		first = second = 0;
		if (sscanf(line, "%15s %31s %lf %lf", verb, name, &first, &second) < 2)
			return 2;
		for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
			if (!strcmp(name, functions[i].name))
				f = &functions[i];
		if (!f)
			return 2;
		if (!strcmp(verb, "site"))
			answer_site(f);
		else if (!strcmp(verb, "time"))
			answer_time(f, (uint64_t)first);
		else if (!strcmp(verb, "pace"))
			answer_pace(f, (uint64_t)first, second);
		else if (!strcmp(verb, "loop"))
			answer_loop(f, first, (unsigned)second);
		else
			return 2;
	}
	return 0;
}
