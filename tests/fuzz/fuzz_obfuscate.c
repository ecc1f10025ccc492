/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>

#include "trace/obfuscate/obfuscate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool good)
{
	if (!good)
		abort();
}

static void sql(struct sv in)
{
	struct sbuf once = {0}, twice = {0}, one = {0};
	int r = obfuscate_sql(&once, in);
	check(once.len <= 3 * in.len + 64);
	if (r == 0) {
		check(obfuscate_sql(&twice, sbuf_sv(&once)) == 0);
		check(sv_eq(sbuf_sv(&once), sbuf_sv(&twice)));
		/* An Agent that does it once more changes nothing. */
		check(obfuscate_sql_once(&one, sbuf_sv(&once)) == 0);
		check(sv_eq(sbuf_sv(&once), sbuf_sv(&one)));
	} else {
		check(once.len == 0);
	}
	sbuf_release(&once);
	sbuf_release(&twice);
	sbuf_release(&one);
}

static void json(struct sbuf *out, struct sv in)
{
	obfuscate_json(out, in, NULL);
}

static void memcached(struct sbuf *out, struct sv in)
{
	obfuscate_memcached(out, in, true);
}

static void url(struct sbuf *out, struct sv in)
{
	obfuscate_url(out, in, false, false);
}

static void plain_url(struct sv in)
{
	struct sbuf b = {0};
	obfuscate_url(&b, in, false, false);
	check(!obfuscate_url_is_plain(in) || sv_eq(in, sbuf_sv(&b)));
	sbuf_release(&b);
}

static void url_stripped(struct sbuf *out, struct sv in)
{
	obfuscate_url(out, in, true, true);
}

/* Never much longer than what went in. */
static void bounded(void (*fn)(struct sbuf *, struct sv), struct sv in)
{
	struct sbuf b = {0};
	fn(&b, in);
	check(b.len <= 3 * in.len + 64);
	sbuf_release(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sv in = {(const char *)data, size};
	sql(in);
	bounded(obfuscate_redis_command, in);
	bounded(obfuscate_redis_resource, in);
	bounded(obfuscate_redis_remove_args, in);
	bounded(json, in);
	bounded(memcached, in);
	bounded(url, in);
	plain_url(in);
	bounded(url_stripped, in);
	obfuscate_is_card(in, true);
	obfuscate_card_key(in);
	return 0;
}
