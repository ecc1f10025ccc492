/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "trace/agent_info.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever it is: it is refused with a reason, or the answers can be asked for. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sv text = {(const char *)data, size};
	struct sbuf err = {0};
	struct agent_info *i = NULL;
	int r = agent_info_parse(&i, text, &err);
	if (r == 0 && (!i || err.len))
		abort();
	if (r < 0 && (i || !err.len))
		abort();
	if (i) {
		agent_info_serves(i, SV("/v0.4/traces"));
		agent_list_has(&i->peer_tags, SV("peer.service"));
	}
	agent_info_unref(i);
	sbuf_release(&err);
	return 0;
}
