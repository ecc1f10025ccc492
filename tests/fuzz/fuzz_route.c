/* SPDX-License-Identifier: Apache-2.0 */
/* Any path, any route. A guess is short, printable, and its own guess; a path without odd bytes matches itself as a
 * route. */
#include <stdint.h>
#include <stdlib.h>

#include "trace/client_ip.h"
#include "trace/route.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int good)
{
	if (!good)
		abort();
}

static void check_guess(struct sv path)
{
	struct sbuf once = {0}, twice = {0};
	unsigned slashes = 0;
	route_guess(&once, path);
	check(once.len > 0 && once.data[0] == '/' && once.len <= path.len + 2);
	for (size_t i = 0; i < once.len; i++) {
		check(once.data[i] > ' ' && once.data[i] < 127);
		slashes += once.data[i] == '/';
	}
	check(slashes <= ROUTE_GUESS_SEGMENTS + 1);
	/* A value's place is found again: '?' is no part of a path, and odd. */
	if (slashes <= ROUTE_GUESS_SEGMENTS) {
		route_guess(&twice, sbuf_sv(&once));
		check(strcmp(sbuf_str(&once), sbuf_str(&twice)) == 0);
	}
	sbuf_release(&once);
	sbuf_release(&twice);
}

static bool is_plain(struct sv s)
{
	for (size_t i = 0; i < s.len; i++)
		if (strchr("{}*<>:?#", s.data[i]))
			return false;
	return s.len > 0 && s.data[0] == '/';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sv in = {(const char *)data, size};
	const char *nl = size ? memchr(data, '\n', size) : NULL;
	struct sv route = {in.data, nl ? (size_t)(nl - in.data) : size};
	struct sv path = nl ? (struct sv){nl + 1, size - route.len - 1} : in;
	struct routes routes = {0};
	struct sbuf err = {0};
	check_guess(path);
	int rc = routes_add(&routes, route, &err);
	check((rc == 0) == (err.len == 0));
	struct sv found = routes_match(&routes, path);
	check(!found.data || (rc == 0 && sv_eq(found, route)));
	if (rc == 0 && is_plain(route))
		check(sv_eq(routes_match(&routes, route), route));
	routes_release(&routes);
	sbuf_release(&err);

	struct sv ip = client_ip_find(path, SV("10.0.0.1"));
	check(ip_is_valid(ip));
	return 0;
}
