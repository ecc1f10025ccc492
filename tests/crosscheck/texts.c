/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our side of texts/main.go: reads requests from standard input and writes the answers to standard output.
 *
 *   request: one byte that names what is to be done, four bytes of length (little endian), the text
 *   answer:  one byte, 1 when it was refused, four bytes of length, the text
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "trace/normalize.h"
#include "trace/obfuscate/obfuscate.h"

static int answer(char what, struct sbuf *out, struct sv in)
{
	switch (what) {
	case 'q':
		return obfuscate_sql(out, in);
	case 'Q':
		return obfuscate_sql_once(out, in);
	case 'r':
		obfuscate_redis_command(out, in);
		return 0;
	case 'R':
		obfuscate_redis_resource(out, in);
		return 0;
	case 'a':
		obfuscate_redis_remove_args(out, in);
		return 0;
	case 'm':
		obfuscate_memcached(out, in, true);
		return 0;
	case 'j':
		obfuscate_json(out, in, NULL);
		return 0;
	case 'J': {
		struct sv keys[] = {SV("a"), SV("query")};
		struct agent_list keep = {keys, 2};
		obfuscate_json(out, in, &keep);
		return 0;
	}
	case 'u':
		obfuscate_url(out, in, false, false);
		return 0;
	case 'U':
		obfuscate_url(out, in, true, true);
		return 0;
	case 'c':
		sbuf_addc(out, obfuscate_is_card(in, false) ? '?' : '-');
		return 0;
	case 'l':
		sbuf_addc(out, obfuscate_is_card(in, true) ? '?' : '-');
		return 0;
	case 's':
		normalize_service(out, in, SV("go"));
		return 0;
	case 'p':
		normalize_peer_service(out, in);
		return 0;
	case 'n':
		normalize_name(out, in);
		return 0;
	case 't':
		normalize_tag(out, in);
		return 0;
	case 'v':
		normalize_tag_value(out, in);
		return 0;
	default:
		exit(2);
	}
}

int main(void)
{
	struct sbuf in = {0}, out = {0};
	unsigned char head[5];
	while (fread(head, 1, 5, stdin) == 5) {
		uint32_t len;
		memcpy(&len, head + 1, 4);
		sbuf_reset(&in);
		sbuf_reset(&out);
		char *at = sbuf_reserve(&in, len);
		if (!at || fread(at, 1, len, stdin) != len)
			return 1;
		int r = answer((char)head[0], &out, (struct sv){at, len});
		uint32_t n = (uint32_t)out.len;
		putchar(r < 0);
		fwrite(&n, 1, 4, stdout);
		fwrite(out.len ? out.data : "", 1, n, stdout);
		fflush(stdout);
	}
	sbuf_release(&in);
	sbuf_release(&out);
	return 0;
}
