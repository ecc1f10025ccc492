/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXPORT_DOGSTATSD_H
#define EXPORT_DOGSTATSD_H

#include "base/sbuf.h"
#include "trace/span.h"

/* Metrics to a DogStatsD server, over UDP or a Unix socket (datagram or stream), several to a packet. Nothing here
 * waits: a packet that the socket does not take now is dropped and counted. One thread at a time.
 *
 * Where to: the argument; else DD_DOGSTATSD_URL; else DD_DOGSTATSD_HOST (DD_AGENT_HOST) and DD_DOGSTATSD_PORT; else
 * /var/run/datadog/dsd.socket if it exists; else localhost and the port the Agent said at /info, or 8125.
 * udp://HOST[:PORT], unix:///PATH (datagrams, or a stream if it is one), unixgram:///PATH, unixstream:///PATH. */
struct dogstatsd;

#define DOGSTATSD_UDP_MAX     1432 /* bytes of a packet: what fits into an Ethernet frame beside its headers */
#define DOGSTATSD_UDS_MAX     8192 /* the Agent's buffer */
#define DOGSTATSD_TELEMETRY_S 10   /* how often the client's own counters are sent along */

struct dogstatsd_options {
	const char *url;     /* NULL: see above */
	uint16_t agent_port; /* agent_info.statsd_port; 0: not known */
	struct sv tags;	     /* "k:v,k:v", on every metric; copied */
	bool telemetry;	     /* datadog.dogstatsd.client.*; DD_DOGSTATSD_DISABLE_TELEMETRY turns it off */
};

/* 0; -EINVAL: the URL is none; -EHOSTUNREACH: no such host; -ENOMEM. `err` says so. A server that is not there yet is
 * no error. May wait for the name of a host to be found. */
int dogstatsd_open(struct dogstatsd **ret, const struct dogstatsd_options *o, struct sbuf *err);
void dogstatsd_close(struct dogstatsd *d); /* NULL is fine; what is buffered is sent */

/* The Agent said its port at /info: used where nothing else says one. 0: it did not. */
void dogstatsd_agent_port(struct dogstatsd *d, uint16_t port);

enum dogstatsd_type {
	DOGSTATSD_COUNT,
	DOGSTATSD_GAUGE,
	DOGSTATSD_HISTOGRAM,
	DOGSTATSD_DISTRIBUTION,
	DOGSTATSD_TIMING, /* milliseconds */
};

struct dogstatsd_metric {
	struct sv name; /* characters that may not be in one become _ */
	enum dogstatsd_type type;
	const double *values; /* several go as one message, or as many as a packet each takes */
	unsigned value_cnt;
	double rate;	   /* of sampling; 0 or 1: all were counted */
	int64_t timestamp; /* seconds since 1970, of a count or gauge that is not to be aggregated; 0: now */
	const struct tag *tags;
	unsigned tag_cnt;
	/* Whose metric it is: its container, cgroup and external environment go along (c:, e:), so that the Agent adds
	 * the tags of that container and not of ours. NULL: ours, without a word. */
	const struct process_info *origin;
};

/* Into the packet in the making, which is sent when it is full. What no packet could hold, and values that are no
 * numbers, are dropped and counted: the whole metric. */
void dogstatsd_add(struct dogstatsd *d, const struct dogstatsd_metric *m);
/* One value, no tags but the common ones. */
void dogstatsd_count(struct dogstatsd *d, struct sv name, double value);
void dogstatsd_gauge(struct dogstatsd *d, struct sv name, double value);
/* Sends what is buffered; with it, when they are due, the client's own counters. */
void dogstatsd_flush(struct dogstatsd *d, uint64_t now_ns);

struct dogstatsd_stats {
	uint64_t metrics; /* taken */
	uint64_t refused; /* not taken: too large, or no number */
	uint64_t packets_sent, bytes_sent, packets_dropped, bytes_dropped;
};
void dogstatsd_stats(const struct dogstatsd *d, struct dogstatsd_stats *ret);
/* "udp://localhost:8125", for people. */
const char *dogstatsd_shown(const struct dogstatsd *d);

#endif
