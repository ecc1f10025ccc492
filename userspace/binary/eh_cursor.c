/* SPDX-License-Identifier: Apache-2.0 */
#include "binary/eh_cursor.h"

#include <string.h>

bool eh_take(struct eh_cursor *c, void *to, size_t len)
{
	if (c->failed || len > c->len) {
		c->failed = true;
		if (to)
			memset(to, 0, len);
		return false;
	}
	if (to)
		memcpy(to, c->data, len);
	c->data += len;
	c->len -= len;
	c->vaddr += len;
	return true;
}

uint8_t eh_byte(struct eh_cursor *c)
{
	uint8_t byte;
	eh_take(c, &byte, 1);
	return byte;
}

uint64_t eh_leb128(struct eh_cursor *c, bool is_signed)
{
	uint64_t value = 0;
	uint8_t byte = 0x80;
	unsigned shift = 0;
	for (; (byte & 0x80) && eh_take(c, &byte, 1); shift += 7)
		if (shift < 64)
			value |= (uint64_t)(byte & 0x7f) << shift;
	if (is_signed && (byte & 0x40) && shift < 64)
		value |= ~0ULL << shift;
	return value;
}

uint64_t eh_int(struct eh_cursor *c, size_t len, bool is_signed)
{
	uint64_t value = 0;
	eh_take(c, &value, len);
	unsigned unused = 64 - 8 * (unsigned)len;
	return is_signed ? (uint64_t)((int64_t)(value << unused) >> unused) : value;
}

uint64_t eh_value(struct eh_cursor *c, uint8_t encoding)
{
	switch (encoding & PE_FORMAT) {
	case PE_ULEB128:
	case PE_SLEB128:
		return eh_leb128(c, (encoding & PE_FORMAT) == PE_SLEB128);
	case PE_UDATA2:
	case PE_SDATA2:
		return eh_int(c, 2, (encoding & PE_FORMAT) == PE_SDATA2);
	case PE_UDATA4:
	case PE_SDATA4:
		return eh_int(c, 4, (encoding & PE_FORMAT) == PE_SDATA4);
	case PE_ABSPTR:
	case PE_UDATA8:
	case PE_SDATA8:
		return eh_int(c, 8, false);
	default:
		c->failed = true;
		return 0;
	}
}

uint64_t eh_pointer(struct eh_cursor *c, uint8_t encoding)
{
	uint64_t at = c->vaddr, base = 0;
	if ((encoding & PE_APPLICATION) == PE_ALIGNED)
		eh_take(c, NULL, (8 - at % 8) % 8);
	else if ((encoding & PE_APPLICATION) == PE_PCREL)
		base = at;
	else if (encoding & PE_APPLICATION)
		c->failed = true;
	uint64_t value = eh_value(c, encoding);
	return value ? value + base : 0;
}
