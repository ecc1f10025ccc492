/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "trace/client_ip.h"

/* What Python 3.11's ipaddress.ip_address(x).is_global says. */
static void global_addresses(void **state)
{
	static const char *const global[] = {"8.8.8.8",		"100.63.255.255", "100.128.0.0", "172.15.0.1",
					     "172.32.0.1",	"192.0.1.0",	  "198.17.0.1",	 "198.20.0.1",
					     "223.255.255.255", "2a00::1",	  "2001:200::1", "fe00::1",
					     "ff02::1",		"100:0:0:1::",	  "192.0.0.8",	 "::ffff:8.8.8.8"};
	static const char *const local[] = {"0.0.0.0",
					    "10.1.2.3",
					    "100.64.0.1",
					    "127.0.0.1",
					    "169.254.1.1",
					    "172.16.0.1",
					    "172.31.255.255",
					    "192.0.0.7",
					    "192.0.0.171",
					    "192.0.2.1",
					    "192.168.0.1",
					    "198.18.0.1",
					    "198.19.255.255",
					    "198.51.100.9",
					    "203.0.113.7",
					    "240.0.0.1",
					    "255.255.255.255",
					    "::",
					    "::1",
					    "::ffff:10.1.2.3",
					    "100::1",
					    "2001:db8::1",
					    "2001:0:1::",
					    "fc00::1",
					    "fdff::1",
					    "fe80::1",
					    "febf::1",
					    "",
					    "x",
					    "1.2.3",
					    "1.2.3.04",
					    "8.8.8.8:53",
					    "[2a00::1]"};
	(void)state;
	for (size_t i = 0; i < sizeof(global) / sizeof(global[0]); i++)
		if (!ip_is_global(sv_of(global[i])))
			fail_msg("%s", global[i]);
	for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++)
		if (ip_is_global(sv_of(local[i])))
			fail_msg("%s", local[i]);
}

static void headers(void **state)
{
	static const char *const cases[][3] = {
		{"8.8.8.8", "10.0.0.1", "8.8.8.8"},
		{"10.1.1.1, 9.9.9.9, 8.8.8.8", "10.0.0.1", "9.9.9.9"},
		{" 10.1.1.1,10.2.2.2", "10.0.0.1", "10.1.1.1"},
		{"10.1.1.1", "7.7.7.7", "7.7.7.7"},
		{"", "10.0.0.1", "10.0.0.1"},
		{"unknown, 8.8.8.8", "10.0.0.1", "8.8.8.8"},
		{"8.8.8.8:1234", "10.0.0.1", "10.0.0.1"},
		{"[2a00::1]:80, [2a00::1]", "10.0.0.1", "10.0.0.1"},
		{"2a00::1", "10.0.0.1", "2a00::1"},
		{"for=8.8.8.8", "10.0.0.1", "8.8.8.8"},
		{"For=8.8.8.8:4711;by=1.1.1.1", "10.0.0.1", "8.8.8.8"},
		{"by=1.1.1.1; for=\"9.9.9.9:80\";proto=http", "10.0.0.1", "9.9.9.9"},
		{"for=\"[2a00::1]:80\", for=8.8.8.8", "10.0.0.1", "2a00::1"},
		{"for=unknown, for=_hidden", "10.0.0.1", "10.0.0.1"},
		{"for=[2a00::1]", "10.0.0.1", "10.0.0.1"},
		{"for=\"[2a00::1", "10.0.0.1", "10.0.0.1"},
		{"999.1.1.1, 1.1.1", "10.0.0.1", "10.0.0.1"},
		{"10.1.1.1", "", "10.1.1.1"},
		{",,,", "", ""},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct sv ip = client_ip_find(sv_of(cases[i][0]), sv_of(cases[i][1]));
		if (!sv_eq(ip, sv_of(cases[i][2])))
			fail_msg("'%s': " SV_FMT, cases[i][0], SV_ARG(ip));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(global_addresses), cmocka_unit_test(headers)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
