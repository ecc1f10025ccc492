/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/json.h"
#include "trace/agent_info.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever it is: it is refused, or it is JSON by the reader's own judgement and the answers can be asked for. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sv text = {(const char *)data, size};
	struct sbuf err = {0};
	struct agent_info *i = NULL;
	struct json j = json_start(text);
	bool whole = json_skip(&j) && json_end(&j);
	int r = agent_info_parse(&i, text, &err);
	if (r == 0 && (!i || err.len))
		abort();
	if (r < 0 && (i || !err.len))
		abort();
	/* Skipping does not look into escapes, so it may take more than reading does, never less. */
	if (r == 0 && !whole)
		abort();
	if (i) {
		agent_info_serves(i, SV("/v0.4/traces"));
		agent_list_has(&i->peer_tags, SV("peer.service"));
	}
	agent_info_unref(i);
	sbuf_release(&err);
	return 0;
}
