/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "flow/requests.h"

static void count(struct requests *r, const char *service, const char *resource, bool server, bool error, uint64_t ns)
{
	/* Memory of its own that does not outlive the call. */
	char copy[2][64];
	snprintf(copy[0], sizeof(copy[0]), "%s", service);
	snprintf(copy[1], sizeof(copy[1]), "%s", resource);
	struct request_name name = {sv_of(copy[0]), sv_of(copy[1]), server};
	requests_count(r, &name, error, ns);
	memset(copy, 'x', sizeof(copy));
}

static void test_rows(void **state)
{
	(void)state;
	struct requests *r = requests_new();
	for (int i = 1; i <= 100; i++)
		count(r, "shop", "GET /", true, i % 10 == 0, (uint64_t)i);
	count(r, "shop", "GET /", false, false, 5);
	count(r, "shopGET", " /", true, false, 6);
	const struct request_row *row = requests_row(r, 0);
	assert_true(sv_eq(row->name.service, SV("shop")));
	assert_true(sv_eq(row->name.resource, SV("GET /")));
	assert_true(row->name.server);
	assert_int_equal(row->durations.cnt, 100);
	assert_int_equal(row->errors, 10);
	assert_int_equal(row->durations.max, 100);
	assert_in_range(histogram_quantile(&row->durations, 0.5), 50, 53);
	assert_false(requests_row(r, 1)->name.server);
	assert_int_equal(requests_row(r, 2)->durations.max, 6);
	assert_null(requests_row(r, 3));
	requests_free(r);
}

static void test_too_many(void **state)
{
	(void)state;
	struct requests *r = requests_new();
	char resource[32];
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < REQUESTS_MAX_ROWS + 50; i++) {
			snprintf(resource, sizeof(resource), "GET /%d", i);
			count(r, "shop", resource, true, false, 1);
		}
	assert_non_null(requests_row(r, REQUESTS_MAX_ROWS - 1));
	assert_null(requests_row(r, REQUESTS_MAX_ROWS));
	assert_int_equal(requests_others(r), 100);
	for (uint32_t i = 0; i < REQUESTS_MAX_ROWS; i++)
		assert_int_equal(requests_row(r, i)->durations.cnt, 2);
	requests_free(r);
}

/* Each service has its own allowance of resources; those beyond the last share one. */
static void test_services(void **state)
{
	(void)state;
	struct requests *r = requests_new();
	char text[32];
	for (int i = 0; i <= RESOURCES_DEFAULT_MAX; i++) {
		snprintf(text, sizeof(text), "GET /%d", i);
		assert_int_equal(resources_admit(requests_resources(r, SV("a")), sv_of(text)),
				 i < RESOURCES_DEFAULT_MAX);
	}
	assert_true(resources_admit(requests_resources(r, SV("b")), SV("GET /x")));
	assert_ptr_equal(requests_resources(r, SV("a")), requests_resources(r, SV("a")));
	assert_int_equal(requests_overflow(r), 1);
	for (int i = 0; i < 2 * REQUESTS_MAX_SERVICES; i++) {
		snprintf(text, sizeof(text), "service %d", i);
		assert_non_null(requests_resources(r, sv_of(text)));
	}
	assert_ptr_equal(requests_resources(r, SV("one")), requests_resources(r, SV("two")));
	requests_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_services),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
