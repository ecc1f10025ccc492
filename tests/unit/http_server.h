/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_HTTP_SERVER_H
#define TESTS_HTTP_SERVER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* An HTTP server of a few lines with the manners of a bad Agent, on a thread of its own. */

enum manner {
	SERVE_OK,	/* 200 and rates */
	SERVE_STATUS,	/* `status` and `words` */
	SERVE_SLOWLY,	/* 200 after `delay_ms` */
	SERVE_NOTHING,	/* reads the request and never answers */
	SERVE_HALF,	/* half of a reply, then the end of the connection */
	SERVE_DEAF,	/* does not even read: accepts and closes */
	SERVE_OK_BELOW, /* 413 for more than `limit` chunks, else 200 */
};

struct http_server {
	pthread_t thread;
	int listen_fd;
	int port;
	const char *socket_path; /* instead of a port */
	/* Atomic: told by the test. */
	enum manner manner;
	int status, delay_ms, limit;
	const char *words;
	bool stop;
	/* Atomic: what it saw. `spans` and `chunks` are those of requests it answered with 200. */
	uint64_t requests, chunks, bytes, connections;
	char head[4096]; /* of the last request, under the lock */
	pthread_mutex_t lock;
};

/* Listens on `port` of 127.0.0.1 (0: any), or at socket_path when that is set. */
void http_server_start(struct http_server *s, int port);
void http_server_stop(struct http_server *s);

#endif
