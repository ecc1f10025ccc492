/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_SUMMARY_H
#define APP_SUMMARY_H

#include <stdio.h>

#include "app/session.h"

/* What a session saw and where it went: per probed function, then the identity seen = exported + dropped. */
void summary_print(struct session *s, FILE *out);
void summary_json(struct session *s, struct sbuf *out);

/* The account alone, as members of a JSON object, without braces. */
void summary_json_account(const struct session_account *a, struct sbuf *out);
/* Writes text to a file, "-" being standard output. 0 or -errno, said. */
int summary_write(const struct sbuf *text, const char *path);

/* A duration as people write it: 12 µs, 1.5 ms. Returns `buf`. */
#define DURATION_LEN 24
const char *duration_text(uint64_t ns, char buf[DURATION_LEN]);

#endif
