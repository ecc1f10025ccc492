/* SPDX-License-Identifier: Apache-2.0 */
/* shop [REQUESTS_PER_SECOND]: a small web shop without the web. Worker threads take requests from a queue and handle
 * them: parse, authenticate, load the cart, charge the card, render. Runs until SIGTERM. Nothing in here knows of tracing. */
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WORKERS	 4
#define QUEUE_SZ 64
#define STEP	 __attribute__((noinline, used)) /* a step of the work stays a function of its own */

struct request {
	long id;
	char line[96];
	char path[32];
	char token[16];
	char user[16];
	char currency[4];
	long amount; /* cents */
	int items;
};

static volatile sig_atomic_t stopping;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t filled = PTHREAD_COND_INITIALIZER;
static struct request queue[QUEUE_SZ];
static unsigned head, tail;
static __thread uint64_t dice = 88172645463325252u;

static uint64_t roll(uint64_t below)
{
	dice ^= dice << 13;
	dice ^= dice >> 7;
	dice ^= dice << 17;
	return dice % below;
}

/* Work that takes from `least` microseconds up to about four times as long, now and then ten times. */
static void take_time(long least)
{
	long us = least + (long)roll((uint64_t)least * 3 + 1);
	struct timespec ts;

	if (!roll(20))
		us *= 10;
	ts.tv_sec = us / 1000000;
	ts.tv_nsec = us % 1000000 * 1000;
	nanosleep(&ts, NULL);
}

STEP int query_db(const char *sql, long key)
{
	(void)sql;
	take_time(150);
	return (int)(key % 7) + 1;
}

STEP int parse_request(struct request *r)
{
	return sscanf(r->line, "GET %31s token=%15s amount=%ld currency=%3s", r->path, r->token, &r->amount,
		      r->currency) == 4
		       ? 0
		       : -1;
}

STEP int lookup_session(const char *token)
{
	return query_db("SELECT user FROM sessions WHERE token = $1", token[0]);
}

STEP int authenticate(struct request *r)
{
	int user = lookup_session(r->token);

	snprintf(r->user, sizeof(r->user), "user-%d", user);
	return strcmp(r->token, "expired") ? 0 : -1;
}

STEP int load_cart(struct request *r)
{
	r->items = query_db("SELECT * FROM carts WHERE owner = $1", r->id);
	for (int i = 0; i < r->items && i < 3; i++)
		query_db("SELECT price FROM products WHERE id = $1", i);
	return r->items;
}

STEP long apply_discount(long amount, const char *user)
{
	return user[5] == '3' ? amount * 9 / 10 : amount;
}

/* 0, or -1 when the bank says no. */
STEP int charge_card(long amount, const char *currency)
{
	take_time(400);
	return amount > 9000 || !strcmp(currency, "XXX") ? -1 : 0;
}

STEP void send_receipt(const char *user, long amount)
{
	(void)user, (void)amount;
	take_time(80);
}

STEP int render_page(struct request *r, int status)
{
	char page[512];

	take_time(60);
	return snprintf(page, sizeof(page), "<h1>%s</h1><p>%d items, %ld %s, status %d</p>", r->user, r->items,
			r->amount, r->currency, status);
}

STEP int checkout(struct request *r)
{
	long amount = apply_discount(r->amount, r->user);
	int status = charge_card(amount, r->currency);

	if (!status)
		send_receipt(r->user, amount);
	return status;
}

STEP int handle_request(struct request *r)
{
	int status = 500;

	if (parse_request(r))
		status = 400;
	else if (authenticate(r))
		status = 401;
	else if (load_cart(r) > 0)
		status = strcmp(r->path, "/checkout") ? 200 : checkout(r) ? 402 : 200;
	render_page(r, status);
	return status;
}

static void *worker(void *arg)
{
	dice += (uintptr_t)arg * 7919;
	for (;;) {
		struct request r;

		pthread_mutex_lock(&lock);
		while (head == tail && !stopping)
			pthread_cond_wait(&filled, &lock);
		if (stopping) {
			pthread_mutex_unlock(&lock);
			return NULL;
		}
		r = queue[tail++ % QUEUE_SZ];
		pthread_mutex_unlock(&lock);
		handle_request(&r);
	}
}

/* The customers: one request after another, some of them in trouble. */
static void enqueue(long id)
{
	static const char *const paths[] = {"/cart", "/checkout", "/checkout", "/orders"};
	static const char *const currencies[] = {"EUR", "EUR", "USD", "GBP", "XXX"};
	struct request r = {.id = id};

	snprintf(r.line, sizeof(r.line), "GET %s token=%s amount=%ld currency=%s", paths[roll(4)],
		 roll(15) ? "valid" : "expired", (long)roll(10000), currencies[roll(5)]);
	pthread_mutex_lock(&lock);
	if (head - tail < QUEUE_SZ) {
		queue[head++ % QUEUE_SZ] = r;
		pthread_cond_signal(&filled);
	}
	pthread_mutex_unlock(&lock);
}

static void on_term(int sig)
{
	(void)sig;
	stopping = 1;
}

int main(int argc, char **argv)
{
	long rate = argc > 1 ? atol(argv[1]) : 100, id = 0;
	pthread_t threads[WORKERS];

	signal(SIGTERM, on_term);
	signal(SIGINT, on_term);
	for (uintptr_t i = 0; i < WORKERS; i++)
		if (pthread_create(&threads[i], NULL, worker, (void *)(i + 1)))
			return 1;
	printf("pid %d\n", getpid());
	fflush(stdout);
	while (!stopping) {
		usleep((useconds_t)(1000000 / (rate > 0 ? rate : 1)));
		enqueue(++id);
	}
	pthread_mutex_lock(&lock);
	pthread_cond_broadcast(&filled);
	pthread_mutex_unlock(&lock);
	for (int i = 0; i < WORKERS; i++)
		pthread_join(threads[i], NULL);
	return 0;
}
