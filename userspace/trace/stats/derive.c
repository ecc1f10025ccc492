/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/stats/derive.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <strings.h>

/* --- gRPC status -------------------------------------------------------------------------------------------------- */

static bool same_name(struct sv text, const char *name)
{
	return text.len == strlen(name) && strncasecmp(text.data, name, text.len) == 0;
}

static struct sv grpc_number(struct sv text, char room[11])
{
	uint64_t n = 0;
	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] < '0' || text.data[i] > '9')
			return SV_NULL;
		n = n * 10 + (uint64_t)(text.data[i] - '0');
		if (n > UINT32_MAX)
			return SV_NULL;
	}
	return (struct sv){room, (size_t)snprintf(room, 11, "%u", (unsigned)n)};
}

struct sv derive_grpc_code(struct sv text, char room[11])
{
	static const struct {
		const char *name, *number;
	} codes[] = {
		{"OK", "0"},
		{"CANCELLED", "1"},
		{"CANCELED", "1"},
		{"UNKNOWN", "2"},
		{"INVALID_ARGUMENT", "3"},
		{"INVALIDARGUMENT", "3"},
		{"DEADLINE_EXCEEDED", "4"},
		{"DEADLINEEXCEEDED", "4"},
		{"NOT_FOUND", "5"},
		{"NOTFOUND", "5"},
		{"ALREADY_EXISTS", "6"},
		{"ALREADYEXISTS", "6"},
		{"PERMISSION_DENIED", "7"},
		{"PERMISSIONDENIED", "7"},
		{"RESOURCE_EXHAUSTED", "8"},
		{"RESOURCEEXHAUSTED", "8"},
		{"FAILED_PRECONDITION", "9"},
		{"FAILEDPRECONDITION", "9"},
		{"ABORTED", "10"},
		{"OUT_OF_RANGE", "11"},
		{"OUTOFRANGE", "11"},
		{"UNIMPLEMENTED", "12"},
		{"INTERNAL", "13"},
		{"UNAVAILABLE", "14"},
		{"DATA_LOSS", "15"},
		{"DATALOSS", "15"},
		{"UNAUTHENTICATED", "16"},
	};
	if (!text.len)
		return SV_NULL;
	if (text.data[0] >= '0' && text.data[0] <= '9')
		return grpc_number(text, room);
	if (sv_starts(text, SV("StatusCode.")))
		text = (struct sv){text.data + 11, text.len - 11};
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (same_name(text, codes[i].name))
			return sv_of(codes[i].number);
	return SV_NULL;
}

/* --- addresses ---------------------------------------------------------------------------------------------------- */

#define MAX_ADDRESS 64 /* the longest text of an IPv6 address has 45 bytes, and zones are not looked at */

static struct sv slice(struct sv s, size_t from, size_t to)
{
	return (struct sv){s.data + from, to - from};
}

static size_t sv_last(struct sv s, char c)
{
	const char *at = s.len ? memrchr(s.data, c, s.len) : NULL;
	return at ? (size_t)(at - s.data) : SIZE_MAX;
}

static bool sv_has(struct sv s, char c)
{
	return s.len && memchr(s.data, c, s.len);
}

/* Four numbers with `sep` between them, at the beginning; their length, 0: there are none. */
static size_t ipv4_len(struct sv s, char sep)
{
	unsigned value = 0, digits = 0, fields = 0;
	for (size_t i = 0; i < s.len; i++) {
		char c = s.data[i];
		if (c >= '0' && c <= '9') {
			if (digits == 1 && value == 0)
				return 0;
			value = value * 10 + (unsigned)(c - '0');
			digits++;
			if (value > 255)
				return 0;
		} else if (c == sep) {
			if (i == 0 || i == s.len - 1 || s.data[i - 1] == sep)
				return 0;
			if (fields == 3)
				return i;
			fields++;
			value = digits = 0;
		} else {
			return fields == 3 && digits ? i : 0;
		}
	}
	return fields == 3 ? s.len : 0;
}

static bool ipv6_is(struct sv s)
{
	char text[MAX_ADDRESS];
	struct in6_addr address;
	size_t zone = s.len;
	for (size_t i = 0; i < s.len; i++) {
		if (s.data[i] != '%')
			continue;
		/* An address with an empty zone is none. */
		if (i + 1 == s.len)
			return false;
		zone = i;
		break;
	}
	if (zone >= sizeof(text))
		return false;
	memcpy(text, s.data, zone);
	text[zone] = '\0';
	return inet_pton(AF_INET6, text, &address) == 1;
}

/* The length of the address that `s` begins with (an IPv6 one must be all of it); 0: none. */
static size_t address_len(struct sv s)
{
	static const char hex[] = "0123456789abcdefABCDEF:";
	if (!s.len || !s.data[0] || !strchr(hex, s.data[0]))
		return 0;
	for (size_t i = 0; i < s.len; i++) {
		switch (s.data[i]) {
		case '.':
		case '_':
		case '-':
			return ipv4_len(s, s.data[i]);
		case ':':
			return ipv6_is(s) ? s.len : 0;
		case '%':
			return 0;
		}
	}
	return 0;
}

/* Go's net.SplitHostPort. */
static bool split_port(struct sv s, struct sv *ret_host, struct sv *ret_port)
{
	size_t colon = sv_last(s, ':');
	if (colon == SIZE_MAX)
		return false;
	struct sv host = slice(s, 0, colon), after = s;
	if (s.data[0] == '[') {
		const char *end = memchr(s.data, ']', s.len);
		if (!end || (size_t)(end - s.data) + 1 != colon)
			return false;
		host = slice(s, 1, colon - 1);
		if (sv_has(slice(s, 1, s.len), '[') || sv_has(slice(s, colon, s.len), ']'))
			return false;
	} else if (sv_has(host, ':') || sv_has(after, '[') || sv_has(after, ']')) {
		return false;
	}
	*ret_host = host;
	*ret_port = slice(s, colon + 1, s.len);
	return true;
}

/* What stands before an address: "ip-" of EC2 host names, or a scheme; the part of `s` behind it. */
static struct sv skip_prefix(struct sv s, struct sv *ret_prefix)
{
	static const char *const schemes[] = {"dnspoll", "ftp", "file", "http", "https"};
	*ret_prefix = SV_NULL;
	if (sv_starts(s, SV("ip-"))) {
		*ret_prefix = SV("ip-");
		return slice(s, 3, s.len);
	}
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		size_t len = strlen(schemes[i]);
		const char *at = memmem(s.data, s.len, schemes[i], len);
		if (!at)
			continue;
		size_t start = (size_t)(at - s.data), end = start + len + 4;
		if (end < s.len && memcmp(at + len, ":///", 4) == 0) {
			*ret_prefix = slice(s, start, end);
			return slice(s, end, s.len);
		}
		end--;
		if (end < s.len && memcmp(at + len, "://", 3) == 0) {
			*ret_prefix = slice(s, start, end);
			return slice(s, end, s.len);
		}
	}
	return s;
}

static bool address_may_show(struct sv address)
{
	static const char *const allowed[] = {"127.0.0.1", "::1", "169.254.169.254", "fd00:ec2::254", "169.254.170.2"};
	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
		if (sv_eq(address, sv_of(allowed[i])))
			return true;
	return false;
}

static void add_part(struct sbuf *out, struct sv part)
{
	struct sv prefix, host, port = SV_NULL, rest = skip_prefix(part, &prefix);
	if (!split_port(rest, &host, &port))
		host = rest;
	size_t len = address_len(host);
	if (!len || address_may_show(slice(host, 0, len))) {
		sbuf_addsv(out, part);
		return;
	}
	sbuf_addsv(out, prefix);
	sbuf_adds(out, "blocked-ip-address");
	if (port.len) {
		sbuf_addc(out, ':');
		sbuf_addsv(out, port);
	}
	sbuf_addsv(out, slice(host, len, host.len));
}

/* An IPv4 address begins with a digit, or behind "ip-"; before or in every other one, and in a list, are these two. */
static bool may_change(struct sv s)
{
	return s.len &&
	       ((s.data[0] >= '0' && s.data[0] <= '9') || s.data[0] == 'i' || sv_has(s, ':') || sv_has(s, ','));
}

void derive_peer_value(struct sbuf *out, struct sv value)
{
	size_t starts[DERIVE_MAX_PARTS + 1];
	unsigned parts = 0;
	if (!may_change(value)) {
		sbuf_addsv(out, value);
		return;
	}
	for (;;) {
		const char *comma = parts < DERIVE_MAX_PARTS && value.len ? memchr(value.data, ',', value.len) : NULL;
		size_t len = comma ? (size_t)(comma - value.data) : value.len, before = out->len;
		if (parts)
			sbuf_addc(out, ',');
		starts[parts] = out->len;
		add_part(out, slice(value, 0, len));
		struct sv made = slice(sbuf_sv(out), starts[parts], out->len);
		bool known = false;
		for (unsigned i = 0; i < parts && !known; i++) {
			size_t end = (i + 1 < parts ? starts[i + 1] : before + 1) - 1;
			known = sv_eq(made, slice(sbuf_sv(out), starts[i], end));
		}
		if (known)
			out->len = before;
		else
			parts++;
		if (!comma)
			break;
		value = slice(value, len + 1, value.len);
	}
	if (out->data)
		out->data[out->len] = '\0';
}
