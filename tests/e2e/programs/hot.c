/* SPDX-License-Identifier: Apache-2.0 */
/* hot THREADS CALLS_PER_SECOND SECONDS: calls p_hot as fast as asked (0: unlimited), checks every result itself.
 * Prints "pid N", waits for a line, works until SECONDS passed (0: until SIGTERM), prints one JSON line:
 * {"calls": N, "bad": N, "sum": N}; exit status 1 if a result was wrong. */
#include "truth.h"

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct work {
	pthread_t thread;
	uint64_t calls, bad, sum, seed;
};

static volatile sig_atomic_t stop;
static uint64_t rate_ns; /* between two calls of one thread; 0: none */
static uint64_t end_ns;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static inline uint64_t mix(uint64_t a, uint64_t b)
{
	a ^= b + 0x9e3779b97f4a7c15u + (a << 6) + (a >> 2);
	a ^= a >> 31;
	return a * 0xbf58476d1ce4e5b9u;
}

PROBED uint64_t p_hot_inner(uint64_t a)
{
	return mix(a, 7);
}

PROBED uint64_t p_hot(uint64_t a, uint64_t b, const char *currency)
{
	return mix(a, b) + p_hot_inner(b) + (unsigned char)currency[0];
}

/* Sleeps while there is time for it, so that a paced load leaves the processor to others. */
static void wait_until(uint64_t due)
{
	struct timespec nap = {0, 50000};

	for (uint64_t now = now_ns(); now < due && !stop; now = now_ns())
		if (due - now > 200000)
			nanosleep(&nap, NULL);
}

static void *run(void *arg)
{
	struct work *w = arg;
	uint64_t due = now_ns();

	for (uint64_t i = 0; !stop; i++) {
		uint64_t got = p_hot(w->seed, i, "EUR of the euro zone");

		w->bad += got != mix(w->seed, i) + mix(i, 7) + 'E';
		w->sum += got;
		w->calls++;
		if ((i & 127) && !rate_ns)
			continue;
		if (end_ns && now_ns() >= end_ns)
			break;
		if (rate_ns) {
			due += rate_ns;
			wait_until(due);
		}
	}
	return NULL;
}

static void on_term(int sig)
{
	(void)sig;
	stop = 1;
}

int main(int argc, char **argv)
{
	int threads = argc > 1 ? atoi(argv[1]) : 1, status = 0;
	double rate = argc > 2 ? atof(argv[2]) : 0, seconds = argc > 3 ? atof(argv[3]) : 0;
	struct work work[256] = {0}, sum = {0};
	char c = 0;

	signal(SIGTERM, on_term);
	printf("pid %d\n", getpid());
	fflush(stdout);
	while (c != '\n')
		if (read(0, &c, 1) != 1)
			return 3;
	if (threads < 1 || threads > 256)
		return 2;
	rate_ns = rate > 0 ? (uint64_t)(1e9 * threads / rate) : 0;
	end_ns = seconds > 0 ? now_ns() + (uint64_t)(seconds * 1e9) : 0;
	for (int i = 0; i < threads; i++) {
		work[i].seed = (uint64_t)i;
		if (pthread_create(&work[i].thread, NULL, run, &work[i]))
			return 2;
	}
	for (int i = 0; i < threads; i++) {
		pthread_join(work[i].thread, NULL);
		sum.calls += work[i].calls;
		sum.bad += work[i].bad;
		sum.sum += work[i].sum;
	}
	status = sum.bad != 0;
	printf("{\"calls\": %llu, \"bad\": %llu, \"sum\": %llu}\n", (unsigned long long)sum.calls,
	       (unsigned long long)sum.bad, (unsigned long long)sum.sum);
	return status;
}
