/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUZZ_PARTS_H
#define FUZZ_PARTS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Text out of parts that mean something to what is tested, one for each byte; as many as there is room for. Returns its length. */
static inline size_t parts_compose(const char *const *parts, size_t part_cnt, const uint8_t *data, size_t size,
				   char *out, size_t max)
{
	size_t len = 0;
	for (size_t i = 0; i < size; i++) {
		const char *part = parts[data[i] % part_cnt];
		size_t n = strlen(part);
		if (len + n > max)
			break;
		memcpy(out + len, part, n);
		len += n;
	}
	return len;
}

#endif
