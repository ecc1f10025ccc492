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
	SERVE_NO_V05,	/* `status` for /v0.5/traces, else 200 */
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
	const char *info;  /* the answer to GET /info; NULL: 404 */
	bool info_counts;  /* GET /info is a request like others */
	const char *extra; /* headers of every reply, each ended by CRLF */
	const char *rates; /* the body of a 200; NULL: the default rate */
	bool stop;
	/* Atomic: what it saw. `spans` and `chunks` are those of requests it answered with 200. */
	uint64_t infos, requests, chunks, bytes, connections;
	uint64_t kept;	 /* chunks of priority 2 that it took: told by their bytes in v0.4 */
	char head[4096]; /* of the last request, under the lock */
	pthread_mutex_t lock;
};

/* Listens on `port` of 127.0.0.1 (0: any), or at socket_path when that is set. */
void http_server_start(struct http_server *s, int port);
void http_server_stop(struct http_server *s);

#endif
