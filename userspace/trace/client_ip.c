/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/client_ip.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdint.h>
#include <strings.h>

const struct sv client_ip_headers[] = {
	{"x-forwarded-for", 15},  {"x-real-ip", 9},	      {"true-client-ip", 14},	   {"x-client-ip", 11},
	{"forwarded", 9},	  {"forwarded-for", 13},      {"x-cluster-client-ip", 19}, {"fastly-client-ip", 16},
	{"cf-connecting-ip", 16}, {"cf-connecting-ipv6", 18},
};
const unsigned client_ip_header_cnt = sizeof(client_ip_headers) / sizeof(client_ip_headers[0]);

struct network {
	uint8_t bytes[16];
	uint8_t bits;
};

/* ipaddress.py of CPython 3.11: _private_networks, and 100.64/10, which is neither private nor global. */
static const struct network local4[] = {
	{{0}, 8},
	{{10}, 8},
	{{100, 64}, 10},
	{{127}, 8},
	{{169, 254}, 16},
	{{172, 16}, 12},
	{{192, 0, 0, 0}, 29},
	{{192, 0, 0, 170}, 31},
	{{192, 0, 2}, 24},
	{{192, 168}, 16},
	{{198, 18}, 15},
	{{198, 51, 100}, 24},
	{{203, 0, 113}, 24},
	{{240}, 4},
};

static const struct network local6[] = {
	{{0}, 127}, /* :: and ::1 */
	{{0x01}, 64}, {{0x20, 0x01}, 23}, {{0x20, 0x01, 0x0d, 0xb8}, 32}, {{0xfc}, 7}, {{0xfe, 0x80}, 10},
};

static const struct network mapped4 = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 96};

static bool is_in(const uint8_t *ip, const struct network *n)
{
	unsigned whole = n->bits / 8, rest = n->bits % 8;
	if (memcmp(ip, n->bytes, whole) != 0)
		return false;
	return !rest || ((ip[whole] ^ n->bytes[whole]) >> (8 - rest)) == 0;
}

/* 4, 6, or 0: no address. */
static int parse(struct sv s, uint8_t ret[16])
{
	char text[INET6_ADDRSTRLEN];
	if (s.len >= sizeof(text))
		return 0;
	memcpy(text, s.data, s.len);
	text[s.len] = '\0';
	if (inet_pton(AF_INET, text, ret) == 1)
		return 4;
	return inet_pton(AF_INET6, text, ret) == 1 ? 6 : 0;
}

bool ip_is_valid(struct sv ip)
{
	uint8_t bytes[16];
	return ip.len && parse(ip, bytes) != 0;
}

bool ip_is_global(struct sv ip)
{
	uint8_t bytes[16];
	int family = ip.len ? parse(ip, bytes) : 0;
	if (!family)
		return false;
	const uint8_t *at = bytes;
	if (family == 6 && is_in(bytes, &mapped4)) {
		family = 4;
		at += mapped4.bits / 8;
	}
	const struct network *list = family == 4 ? local4 : local6;
	size_t cnt = family == 4 ? sizeof(local4) / sizeof(*local4) : sizeof(local6) / sizeof(*local6);
	for (size_t i = 0; i < cnt; i++)
		if (is_in(at, &list[i]))
			return false;
	return true;
}

static struct sv after(struct sv s, size_t n)
{
	return (struct sv){s.data + n, s.len - n};
}

static struct sv trim_left(struct sv s)
{
	while (s.len && isspace((unsigned char)s.data[0]))
		s = after(s, 1);
	return s;
}

static size_t span_of(struct sv s, const char *set)
{
	size_t n = 0;
	while (n < s.len && s.data[n] && strchr(set, s.data[n]))
		n++;
	return n;
}

/* The address in one parameter of Forwarded: for=1.2.3.4:80, for="[::1]:80" (RFC 7239, section 6). */
static struct sv forwarded_for(struct sv s)
{
	bool quoted;
	if (s.len < 4 || strncasecmp(s.data, "for=", 4) != 0)
		return SV_NULL;
	s = after(s, 4);
	quoted = s.len && s.data[0] == '"';
	if (quoted)
		s = after(s, 1);
	if (quoted && s.len && s.data[0] == '[') {
		s = after(s, 1);
		size_t n = span_of(s, "0123456789abcdefABCDEF:");
		return n < s.len && s.data[n] == ']' ? (struct sv){s.data, n} : SV_NULL;
	}
	return (struct sv){s.data, span_of(s, "0123456789.")};
}

/* The address in one element of the list; empty when there is none. */
static struct sv element_ip(struct sv s)
{
	s = trim_left(s);
	if (span_of(s, "0123456789.") == s.len || span_of(s, "0123456789abcdefABCDEF:") == s.len)
		return ip_is_valid(s) ? s : SV_NULL;
	while (s.len) {
		struct sv ip = forwarded_for(s);
		if (ip_is_valid(ip))
			return ip;
		const char *semicolon = memchr(s.data, ';', s.len);
		if (!semicolon)
			break;
		s = trim_left(after(s, (size_t)(semicolon - s.data) + 1));
	}
	return SV_NULL;
}

struct sv client_ip_find(struct sv value, struct sv peer)
{
	struct sv first = SV_NULL;
	while (value.len) {
		const char *comma = memchr(value.data, ',', value.len);
		size_t n = comma ? (size_t)(comma - value.data) : value.len;
		struct sv ip = element_ip((struct sv){value.data, n});
		if (ip.len && ip_is_global(ip))
			return ip;
		if (ip.len && !first.len)
			first = ip;
		value = after(value, comma ? n + 1 : n);
	}
	return ip_is_global(peer) || !first.len ? peer : first;
}
