/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_RECORDER_H
#define APP_RECORDER_H

#include "app/functions.h"
#include "flow/capture.h"

/* `--export capture:FILE`: the raw stream with what a replay needs to know besides (functions, processes, the probe
 * list), each written before the first record that names it. Used by the consumer thread. */
struct recorder;

struct recorder_options {
	const char *path;
	int64_t unix_minus_mono_ns;
	const struct functions *functions;
	/* A new reference, as calls_options.process. */
	struct process_info *(*process)(void *arg, uint32_t tgid);
	void *arg;
};

int recorder_open(struct recorder **ret, const struct recorder_options *options, struct sbuf *err);
/* The probe list: YAML text, and each -f option. Before the first record. */
void recorder_probes(struct recorder *r, struct sv yaml);
void recorder_function_option(struct recorder *r, struct sv text);
void recorder_record(struct recorder *r, const struct sh_ev_hdr *record);
void recorder_pass(struct recorder *r, uint64_t now_ns);
void recorder_clock(struct recorder *r, int64_t unix_minus_mono_ns);
/* Writes the account (NULL: the session never ran), closes. NULL is fine; then err may be NULL, too. */
int recorder_close(struct recorder *r, const struct capture_account *account, struct sbuf *err);

enum { RECORDED_YAML = 0, RECORDED_OPTION = 1 }; /* id of CAPTURE_PROBES */

#endif
