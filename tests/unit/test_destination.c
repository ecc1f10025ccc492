/* SPDX-License-Identifier: Apache-2.0 */
/* Where requests go, as a text (target/destination.h). */
#include "target/destination.h"

// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include <arpa/inet.h>

static struct sh_exclude parsed(const char *text)
{
	struct sh_exclude x;
	if (destination_parse(sv_of(text), &x) != 0)
		fail_msg("%s is refused", text);
	return x;
}

static void check_host(const char *text, const char *host, int suffix, int port)
{
	struct sh_exclude x = parsed(text);
	assert_int_equal(x.len, strlen(host));
	assert_memory_equal(x.host, host, x.len);
	for (size_t i = x.len; i < sizeof(x.host); i++)
		assert_int_equal(x.host[i], 0);
	assert_int_equal(x.suffix, suffix);
	assert_int_equal(x.port, port);
	assert_true(!x.mask[0] && !x.mask[1] && !x.address[0] && !x.address[1]);
}

static void test_hosts(void **state)
{
	(void)state;
	check_host("api.example.com", "api.example.com", 0, 0);
	check_host("API.Example.com.:8080", "api.example.com", 0, 8080);
	check_host("*.example.com", ".example.com", 1, 0);
	check_host("*.b:1", ".b", 1, 1);
	check_host("localhost:65535", "localhost", 0, 65535);
	check_host("1.2.3", "1.2.3", 0, 0);
	check_host("*", "", 0, 0);
	check_host("*:9200", "", 0, 9200);
}

static void check_address(const char *text, const char *address, int prefix, int port)
{
	struct sh_exclude x = parsed(text);
	unsigned char want[16], mask[16] = {0};
	assert_int_equal(inet_pton(AF_INET6, address, want), 1);
	for (int i = 0; i < prefix; i++)
		mask[i / 8] |= (unsigned char)(0x80 >> i % 8);
	assert_memory_equal(x.address, want, 16);
	assert_memory_equal(x.mask, mask, 16);
	assert_int_equal(x.port, port);
	assert_int_equal(x.len, 0);
}

static void test_addresses(void **state)
{
	(void)state;
	check_address("10.1.2.3", "::ffff:10.1.2.3", 128, 0);
	check_address("10.1.2.3/8", "::ffff:10.0.0.0", 104, 0);
	check_address("10.1.2.3/15:80", "::ffff:10.0.0.0", 111, 80);
	check_address("0.0.0.0/0", "::ffff:0.0.0.0", 96, 0);
	check_address("::1", "::1", 128, 0);
	check_address("[::1]:8080", "::1", 128, 8080);
	check_address("[fe80::/10]", "fe80::", 10, 0);
	check_address("fd00:1234::ffff/32", "fd00:1234::", 32, 0);
	check_address("::/0", "::", 0, 0);
}

static void test_refused(void **state)
{
	static const char *const texts[] = {
		"",	     ":80",	   "a:",	  "a:0",     "a:65536", "a:8x",	     "a:b:c",	  "a b",
		"*a.com",    "a.*.com",	   "*.",	  "*.*.com", "**",	"a..b",	     ".",	  "10.0.0.0/33",
		"1.2.3.4/",  "::1/129",	   "[::1",	  "[::1]8",  "[::1]:",	"[1.2.3.4]", "[a.com]:1", "[*]",
		"http://a/", "a.com/path", "\xc3\xa4.de", "[]",	     "[]:80",	"1.2.3.4/-1"};
	struct sh_exclude x;
	char longest[SH_MAX_HOST + 2];
	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (destination_parse(sv_of(texts[i]), &x) == 0)
			fail_msg("%s is taken", texts[i]);
	memset(longest, 'a', sizeof(longest));
	assert_int_equal(destination_parse((struct sv){longest, SH_MAX_HOST}, &x), 0);
	assert_int_equal(x.len, SH_MAX_HOST);
	assert_true(destination_parse((struct sv){longest, SH_MAX_HOST + 1}, &x) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hosts),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
