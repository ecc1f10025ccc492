/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "trace/redact.h"

static void names(void **state)
{
	(void)state;
	static const char *const secret[] = {"password",   "Password",	 "PASS_WORD", "x-api-key", "2fa",
					     "xsrf_token", "set-cookie", "$token",    "@jwt",	   "auth"};
	static const char *const plain[] = {
		"amount", "pass",
		"tokens", "",
		"_",	  "author",
		"key",	  "a_name_that_is_much_longer_than_any_in_the_list_and_so_is_none_of_them_token"};
	for (size_t i = 0; i < sizeof(secret) / sizeof(secret[0]); i++)
		assert_true(redact_name(sv_of(secret[i])));
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		assert_false(redact_name(sv_of(plain[i])));
}

static void variables(void **state)
{
	(void)state;
	setenv("DD_DYNAMIC_INSTRUMENTATION_REDACTED_IDENTIFIERS", "iban, Customer_Name", 1);
	setenv("DD_DYNAMIC_INSTRUMENTATION_REDACTION_EXCLUDED_IDENTIFIERS", "session", 1);
	assert_true(redact_name(SV("IBAN")));
	assert_true(redact_name(SV("customername")));
	assert_false(redact_name(SV("session")));
	assert_true(redact_name(SV("session_id")));
	unsetenv("DD_DYNAMIC_INSTRUMENTATION_REDACTED_IDENTIFIERS");
	unsetenv("DD_DYNAMIC_INSTRUMENTATION_REDACTION_EXCLUDED_IDENTIFIERS");
	assert_false(redact_name(SV("iban")));
	assert_true(redact_name(SV("session")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(names), cmocka_unit_test(variables)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
