/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/protocol.h"

#define PROTOCOL(id, name) extern const struct protocol name##_protocol;
#include "protocol/protocols.def"
#undef PROTOCOL

const struct protocol *const protocol_registry[] = {
#define PROTOCOL(id, name) &name##_protocol,
#include "protocol/protocols.def"
#undef PROTOCOL
};
const unsigned protocol_registry_cnt = sizeof(protocol_registry) / sizeof(protocol_registry[0]);

const struct protocol *protocol_detect(struct sv bytes, bool *ret_is_response)
{
	for (unsigned i = 0; i < protocol_registry_cnt; i++) {
		const struct protocol *p = protocol_registry[i];
		bool response = p->is_response(bytes) == PROTOCOL_SURE;
		if (!response && p->is_request(bytes) != PROTOCOL_SURE)
			continue;
		*ret_is_response = response;
		return p;
	}
	return NULL;
}
