/* SPDX-License-Identifier: Apache-2.0 */
#include "target/destination.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "spanhound/head.h"

/* The number at the end, of decimal digits alone; -1: it is none, or too large. */
static int number(struct sv s, int max)
{
	int n = 0;
	for (size_t i = 0; i < s.len; i++) {
		if (s.data[i] < '0' || s.data[i] > '9' || (n = n * 10 + (s.data[i] - '0')) > max)
			return -1;
	}
	return s.len ? n : -1;
}

/* Splits off the port. -EINVAL: it is none. */
static int take_port(struct sv *text, bool *ret_bracketed, __u16 *ret)
{
	const char *end = text->data + text->len;
	const char *bracket = text->len && text->data[0] == '[' ? memchr(text->data, ']', text->len) : NULL;
	const char *colon = bracket ? bracket + 1 : memchr(text->data, ':', text->len);
	*ret_bracketed = bracket != NULL;
	if (!bracket && colon && memchr(colon + 1, ':', (size_t)(end - colon - 1)))
		colon = NULL; /* an IPv6 address */
	int port = 0;
	if (colon && colon < end) {
		port = *colon == ':' ? number((struct sv){colon + 1, (size_t)(end - colon - 1)}, 65535) : -1;
		if (port <= 0)
			return -EINVAL;
	}
	*ret = (__u16)port;
	if (bracket)
		*text = (struct sv){text->data + 1, (size_t)(bracket - text->data - 1)};
	else if (colon)
		text->len = (size_t)(colon - text->data);
	return 0;
}

/* As IPv6: IPv4 addresses are mapped. */
static int parse_address(struct sv text, bool only6, struct sh_exclude *ret)
{
	char copy[INET6_ADDRSTRLEN + 1];
	const char *slash = memchr(text.data, '/', text.len);
	struct sv bits = slash ? (struct sv){slash + 1, (size_t)(text.data + text.len - slash - 1)} : SV_NULL;
	unsigned char address[16] = {[10] = 0xff, [11] = 0xff}, mask[16] = {0};
	size_t len = slash ? (size_t)(slash - text.data) : text.len;
	if (len >= sizeof(copy))
		return -EINVAL;
	memcpy(copy, text.data, len);
	copy[len] = '\0';
	int v4 = !only6 && inet_pton(AF_INET, copy, address + 12) == 1;
	if (!v4 && inet_pton(AF_INET6, copy, address) != 1)
		return -EINVAL;
	int prefix = slash ? number(bits, v4 ? 32 : 128) : v4 ? 32 : 128;
	if (prefix < 0)
		return -EINVAL;
	prefix += v4 ? 96 : 0;
	for (int i = 0; i < 16; i++) {
		int left = prefix - i * 8;
		mask[i] = left >= 8 ? 0xff : left > 0 ? (unsigned char)(0xff << (8 - left)) : 0;
		address[i] &= mask[i];
	}
	memcpy(ret->address, address, 16);
	memcpy(ret->mask, mask, 16);
	return 0;
}

static int parse_host(struct sv text, struct sh_exclude *ret)
{
	if (text.len > 2 && text.data[0] == '*' && text.data[1] == '.') {
		ret->suffix = 1;
		text = (struct sv){text.data + 1, text.len - 1};
	}
	if (text.len && text.data[text.len - 1] == '.')
		text.len--;
	if (text.len < 1u + ret->suffix || text.len > SH_MAX_HOST)
		return -EINVAL;
	for (size_t i = 0; i < text.len; i++) {
		char c = text.data[i];
		bool right = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
			     c == '.' || c == '_';
		if (!right || (c == '.' && i && text.data[i - 1] == '.'))
			return -EINVAL;
	}
	ret->len = (__u8)text.len;
	memcpy(ret->host, text.data, text.len);
	for (size_t i = 0; i < SH_MAX_HOST; i += 8) {
		__u64 word = sh_lower(sh_word(ret->host + i));
		memcpy(ret->host + i, &word, 8);
	}
	return 0;
}

int destination_parse(struct sv text, struct sh_exclude *ret)
{
	bool bracketed;
	*ret = (struct sh_exclude){0};
	if (!text.len || take_port(&text, &bracketed, &ret->port) < 0 || !text.len)
		return -EINVAL;
	if (sv_eq(text, SV("*")) && !bracketed)
		return 0;
	if (parse_address(text, bracketed, ret) == 0)
		return 0;
	return bracketed ? -EINVAL : parse_host(text, ret);
}
