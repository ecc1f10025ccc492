/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "target/entry.h"

/* Arguments are written with '|' between them. */
struct entry_case {
	const char *exe, *args;
	enum entry_kind kind;
	const char *language, *what, *name;
};

static const struct entry_case cases[] = {
	{"python3.11", "python3|/srv/app.py|--port|80", ENTRY_SCRIPT, "python", "/srv/app.py", "app.py"},
	{"python3.11", "python3|-u|-X|dev|x.py", ENTRY_SCRIPT, "python", "x.py", "x.py"},
	{"python3.11", "python3|-Xdev|-W|ignore|-Wonce|-B|x.py", ENTRY_SCRIPT, "python", "x.py", "x.py"},
	{"python3.11", "python3|-um|shop.worker|-c|cfg", ENTRY_MODULE, "python", "shop.worker", "shop.worker"},
	{"python3.11", "python3|-mhttp.server|8000", ENTRY_MODULE, "python", "http.server", "http.server"},
	{"python3.11", "python3|-c|import x|file.py", ENTRY_INLINE, "python", "", ""},
	{"python3.11", "python3|-", ENTRY_INLINE, "python", "", ""},
	{"python3.11", "python3", ENTRY_PROGRAM, "python", "", ""},
	{"python3.11", "python3|--check-hash-based-pycs|always|--|x.py", ENTRY_SCRIPT, "python", "x.py", "x.py"},
	{"python3.11", "/usr/bin/python3|/usr/bin/gunicorn|shop.wsgi:app", ENTRY_SCRIPT, "python", "/usr/bin/gunicorn",
	 "gunicorn"},
	{"python3.11", "gunicorn: worker [shop.wsgi:app]", ENTRY_SCRIPT, "python", "gunicorn", "gunicorn"},
	{"python3.11", "[celeryd: w1@host:MainProcess]", ENTRY_SCRIPT, "python", "celeryd", "celeryd"},
	{"python3.13t", "python3.13t|x.py", ENTRY_SCRIPT, "python", "x.py", "x.py"},
	{"pypy3", "pypy3|x.py", ENTRY_SCRIPT, "python", "x.py", "x.py"},
	{"pythonista", "pythonista|x.py", ENTRY_PROGRAM, "", "", ""},
	{"node", "node|--max-old-space-size=1|app.js", ENTRY_SCRIPT, "javascript", "app.js", "app.js"},
	{"node", "node|-r|./hook.js|--import|dd|--enable-source-maps|/srv/a/index.mjs|x", ENTRY_SCRIPT, "javascript",
	 "/srv/a/index.mjs", "index.mjs"},
	{"node", "node|-e|1", ENTRY_INLINE, "javascript", "", ""},
	{"node", "node|-pe|1", ENTRY_INLINE, "javascript", "", ""},
	{"node", "node|--eval=1|x.js", ENTRY_INLINE, "javascript", "", ""},
	{"deno", "deno|run|--allow-net|main.ts", ENTRY_SCRIPT, "javascript", "main.ts", "main.ts"},
	{"ruby3.1", "ruby|-W:no-experimental|-I|lib|-rset|bin/rails|server", ENTRY_SCRIPT, "ruby", "bin/rails",
	 "rails"},
	{"perl", "/usr/bin/perl|-w|-Ilib|-I|x|-MData::Dumper|/opt/x.pl", ENTRY_SCRIPT, "perl", "/opt/x.pl", "x.pl"},
	{"perl", "perl|-ne|print", ENTRY_INLINE, "perl", "", ""},
	{"php8.2", "php|-d|memory_limit=1G|artisan|serve", ENTRY_SCRIPT, "php", "artisan", "artisan"},
	{"php8.2", "php|-f|x.php|y.php", ENTRY_SCRIPT, "php", "x.php", "x.php"},
	{"php8.2", "php|-S|0.0.0.0:80|-t|public", ENTRY_PROGRAM, "php", "", ""},
	{"php-fpm8.2", "php-fpm: master process (/etc/php/8.2/fpm/php-fpm.conf)", ENTRY_PROGRAM, "php", "", ""},
	{"bash", "bash|/opt/run me.sh|x", ENTRY_SCRIPT, "shell", "/opt/run me.sh", "run me.sh"},
	{"bash", "bash|-euo|pipefail|x.sh", ENTRY_SCRIPT, "shell", "x.sh", "x.sh"},
	{"bash", "bash|+O|extglob|--norc|x.sh", ENTRY_SCRIPT, "shell", "x.sh", "x.sh"},
	{"bash", "-bash", ENTRY_PROGRAM, "shell", "", ""},
	{"dash", "sh|-c|echo|x", ENTRY_INLINE, "shell", "", ""},
	{"dash", "sh|-ec|echo|x", ENTRY_INLINE, "shell", "", ""},
	{"java", "java|-Xmx1g|-cp|a.jar:b.jar|-Dx=y|com.acme.Main|arg", ENTRY_CLASS, "jvm", "com.acme.Main",
	 "com.acme.Main"},
	{"java", "java|-javaagent:dd.jar|-jar|/opt/shop-1.2.jar|-cp", ENTRY_JAR, "jvm", "/opt/shop-1.2.jar",
	 "shop-1.2.jar"},
	{"java", "java|-p|mods|-m|shop.mod/com.acme.Shop", ENTRY_CLASS, "jvm", "com.acme.Shop", "com.acme.Shop"},
	{"java", "java|--module|shop.mod", ENTRY_CLASS, "jvm", "shop.mod", "shop.mod"},
	{"java", "java|@args|--add-opens|java.base/x=ALL|Shop", ENTRY_CLASS, "jvm", "Shop", "Shop"},
	{"java", "java|--source|17|src/Shop.java", ENTRY_SCRIPT, "jvm", "src/Shop.java", "Shop.java"},
	{"java", "java|-jar", ENTRY_JAR, "jvm", "", ""},
	{"dotnet", "dotnet|exec|--fx-version|8.0|/srv/Shop.dll", ENTRY_SCRIPT, "dotnet", "/srv/Shop.dll", "Shop.dll"},
	{"redis-server", "redis-server *:6379", ENTRY_PROGRAM, "", "", ""},
	{"redis-server", "python3|x.py", ENTRY_PROGRAM, "", "", ""},
	{"", "python3|x.py", ENTRY_SCRIPT, "python", "x.py", "x.py"},
	{"busybox", "sh|/init.sh", ENTRY_SCRIPT, "shell", "/init.sh", "init.sh"},
	{"env", "/usr/bin/env|-i|-u|X|A=b|C=|python3|-u|x.py", ENTRY_SCRIPT, "python", "x.py", "x.py"},
	{"env", "env", ENTRY_PROGRAM, "", "", ""},
	{"", "", ENTRY_PROGRAM, "", "", ""},
	{"python3", "", ENTRY_PROGRAM, "python", "", ""},
	{"python3", "python3||x.py", ENTRY_SCRIPT, "python", "x.py", "x.py"},
};

static void test_entry(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct entry_case *c = &cases[i];
		char args[256];
		struct entry e;
		snprintf(args, sizeof(args), "%s", c->args);
		for (char *at = args; (at = strchr(at, '|'));)
			*at++ = '\0';
		entry_find(sv_of(c->exe), (struct sv){args, strlen(c->args)}, &e);
		if (e.kind != c->kind || !sv_eq(e.language, sv_of(c->language)) || !sv_eq(e.what, sv_of(c->what)) ||
		    !sv_eq(entry_name(&e), sv_of(c->name)))
			fail_msg("%s: kind %d, language '" SV_FMT "', what '" SV_FMT "'", c->args, e.kind,
				 SV_ARG(e.language), SV_ARG(e.what));
	}
}

static void test_args(void **state)
{
	(void)state;
	struct entry e;
	entry_find(SV("python3"), (struct sv){"python3\0-u\0x.py\0a\0b", 19}, &e);
	assert_int_equal(e.args.len, 3);
	assert_memory_equal(e.args.data, "a\0b", 3);
	entry_find(SV("python3"), SV("gunicorn: master [shop.wsgi:app]"), &e);
	assert_true(sv_eq(e.args, SV("shop.wsgi:app")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_entry), cmocka_unit_test(test_args)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
