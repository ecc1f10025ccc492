/* SPDX-License-Identifier: Apache-2.0 */
/* pkg/obfuscate/memcached.go: the values of a storage command stand behind its line. */
#include "trace/obfuscate/obfuscate.h"

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

void obfuscate_memcached(struct sbuf *out, struct sv command, bool keep)
{
	if (!keep)
		return;
	const char *end = command.len ? memmem(command.data, command.len, "\r\n", 2) : NULL;
	if (end)
		command.len = (size_t)(end - command.data);
	while (command.len && is_blank(command.data[0]))
		command = (struct sv){command.data + 1, command.len - 1};
	while (command.len && is_blank(command.data[command.len - 1]))
		command.len--;
	sbuf_addsv(out, command);
}
