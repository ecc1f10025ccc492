/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "trace/route.h"

static void guesses(void **state)
{
	static const char *const cases[][2] = {
		{"/", "/"},
		{"", "/"},
		{"//", "/"},
		{"/users", "/users"},
		{"/users/", "/users"},
		{"//users//list", "/users/list"},
		/* numbers, dates, versions of files */
		{"/users/3", "/users/?"},
		{"/users/0", "/users/?"},
		{"/users/12345/orders/6", "/users/?/orders/?"},
		{"/log/2026-11-21", "/log/?"},
		{"/ip/10.0.0.1", "/ip/?"},
		{"/neg/-5", "/neg/?"},
		/* ids */
		{"/o/550e8400-e29b-41d4-a716-446655440000", "/o/?"},
		{"/o/550E8400E29B41D4A716446655440000", "/o/?"},
		{"/commit/da39a3ee5e6b4b0d3255bfef95601890afd80709", "/commit/?"},
		{"/commit/1a2b3c4", "/commit/?"},
		{"/x/abc123", "/x/?"},
		{"/x/x7Gh2kLp", "/x/?"},
		{"/inv/INV2023001", "/inv/?"},
		{"/u/user-42", "/u/?"},
		{"/u/user_7", "/u/?"},
		{"/k/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/k/?"},
		{"/s/dQwXgWcQqkEoZfYsRtUvWx", "/s/?"},
		{"/js/main.8f3a2b1c.js", "/js/?"},
		/* encoded, composed, odd */
		{"/q/a%20b", "/q/?"},
		{"/q/caf\xc3\xa9", "/q/?"},
		{"/q/a,b", "/q/?"},
		{"/u/@me", "/u/?"},
		{"/u/~bob", "/u/?"},
		{"/a/../../etc", "/a/?/?/etc"},
		{"/a/.", "/a/?"},
		/* words stay */
		{"/api/v1/users", "/api/v1/users"},
		{"/api/v2.1/users", "/api/v2.1/users"},
		{"/v1234", "/?"},
		{"/index.html", "/index.html"},
		{"/sha256/md5/mp3/oauth2/utf8", "/sha256/md5/mp3/oauth2/utf8"},
		{"/getUserByName", "/getUserByName"},
		{"/facade/decade", "/facade/decade"},
		{"/authentication-providers/shopping_cart_items", "/authentication-providers/shopping_cart_items"},
		{"/.well-known/openid-configuration", "/.well-known/openid-configuration"},
		{"/internationalization-of-names", "/?"},
		{"/abcdefghijklmnopqrstuvwxyz", "/?"},
		{"/a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a", "/?"},
		/* depth */
		{"/a/b/c/d/e/f/g/h", "/a/b/c/d/e/f/g/h"},
		{"/a/b/c/d/e/f/g/h/", "/a/b/c/d/e/f/g/h"},
		{"/a/b/c/d/e/f/g/h/i/j", "/a/b/c/d/e/f/g/h/*"},
	};
	struct sbuf out = {0};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		sbuf_reset(&out);
		route_guess(&out, sv_of(cases[i][0]));
		assert_string_equal(sbuf_str(&out), cases[i][1]);
	}
	sbuf_release(&out);
}

static void matches(void **state)
{
	static const char *const routes[] = {"/users/{id}", "/users/:id/orders", "/files/*", "/a/*/c",	      "/v{n}/x",
					     "/img/*.png",  "/w/[x]?",		 "/only",    "/lit/<int:id>", "/",
					     "/users/me"};
	static const char *const cases[][2] = {
		{"/users/42", "/users/{id}"},
		{"/users/me", "/users/{id}"},
		{"//users/42/", "/users/{id}"},
		{"/users", NULL},
		{"/users/1/orders", "/users/:id/orders"},
		{"/users/1/orders/2", NULL},
		{"/files/a", "/files/*"},
		{"/files/a/b/c", "/files/*"},
		{"/files", NULL},
		{"/a/b/c", "/a/*/c"},
		{"/a/b/d", NULL},
		{"/a/b/b/c", NULL},
		{"/v12/x", "/v{n}/x"},
		{"/w12/x", NULL},
		{"/img/cat.png", "/img/*.png"},
		{"/img/cat.jpg", NULL},
		{"/only", "/only"},
		{"/Only", NULL},
		{"/lit/7", "/lit/<int:id>"},
		{"/", "/"},
		{"", "/"},
	};
	struct routes r = {0};
	struct sbuf err = {0};
	(void)state;
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++)
		assert_int_equal(routes_add(&r, sv_of(routes[i]), &err), i == 6 ? -EINVAL : 0);
	assert_non_null(strstr(sbuf_str(&err), "no ?"));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct sv route = routes_match(&r, sv_of(cases[i][0]));
		if (!sv_eq(route, sv_of(cases[i][1])))
			fail_msg("%s: '" SV_FMT "'", cases[i][0], SV_ARG(route));
	}
	sbuf_release(&err);
	routes_release(&r);
}

static void wrong_routes(void **state)
{
	static const char *const cases[][2] = {
		{"", "begins with /"}, {"users", "begins with /"}, {"/a#b", "no #"},
		{"/a/{id", "brace"},   {"/a/id}", "brace"},	   {"/a/{x}b}", "brace"},
	};
	struct routes r = {0};
	struct sbuf err = {0}, deep = {0}, longest = {0};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		sbuf_reset(&err);
		assert_int_equal(routes_add(&r, sv_of(cases[i][0]), &err), -EINVAL);
		if (!strstr(sbuf_str(&err), cases[i][1]))
			fail_msg("'%s': %s", cases[i][0], sbuf_str(&err));
	}
	for (int i = 0; i <= ROUTE_MAX_SEGMENTS; i++)
		sbuf_adds(&deep, "/a");
	assert_int_equal(routes_add(&r, sbuf_sv(&deep), &err), -EINVAL);
	assert_int_equal(routes_add(&r, (struct sv){deep.data, deep.len - 2}, &err), 0);
	for (int i = 0; i <= ROUTE_MAX_LEN; i++)
		sbuf_adds(&longest, "/");
	assert_int_equal(routes_add(&r, sbuf_sv(&longest), &err), -EINVAL);
	while (r.list.cnt < ROUTES_MAX)
		assert_int_equal(routes_add(&r, SV("/x"), &err), 0);
	assert_int_equal(routes_add(&r, SV("/x"), &err), -EINVAL);
	sbuf_release(&err);
	sbuf_release(&deep);
	sbuf_release(&longest);
	routes_release(&r);
	assert_null(routes_match(&r, SV("/x")).data);
}

static void cap(void **state)
{
	struct resources r = {.max = 300};
	char name[32];
	(void)state;
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 400; i++) {
			snprintf(name, sizeof(name), "GET /%d", i);
			assert_int_equal(resources_admit(&r, sv_of(name)), i < 300);
		}
		assert_int_equal(r.overflow, 100 * (round + 1));
	}
	resources_release(&r);
	r = (struct resources){0};
	for (int i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "GET /%d", i);
		assert_int_equal(resources_admit(&r, sv_of(name)), i < RESOURCES_DEFAULT_MAX);
	}
	resources_release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guesses),
		cmocka_unit_test(matches),
		cmocka_unit_test(wrong_routes),
		cmocka_unit_test(cap),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
