/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KERNEL_LOAD_LOG_H
#define KERNEL_LOAD_LOG_H

#include "base/sbuf.h"

/* Why programs were not loaded, out of what libbpf said of it (its warnings, 1.1 and newer, the verifier's own words between
 * them): "program inject_message: <the verifier's last lines>", in one line, of some 300 bytes at most. Of a map that could not
 * be made, or whatever else it was: libbpf's first complaint. Nothing is added when it said nothing. */
void load_log_explain(struct sv log, struct sbuf *out);

#endif
