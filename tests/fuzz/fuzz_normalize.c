/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "trace/normalize.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool good)
{
	if (!good)
		abort();
}

static void check_tag(void (*fn)(struct sbuf *, struct sv), struct sv in)
{
	struct sbuf b = {0};
	fn(&b, in);
	check(utf8_valid(sbuf_sv(&b)));
	check(b.len <= 2 * NORMALIZE_MAX_TAG + 4);
	check(!b.len || b.data[b.len - 1] != '_');
	sbuf_release(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sv in = {(const char *)data, size};
	struct sbuf b = {0};
	check_tag(normalize_tag, in);
	check_tag(normalize_tag_value, in);
	check_tag(normalize_peer_service, in);
	normalize_service(&b, in, SV("go"));
	check(b.len > 0 && utf8_valid(sbuf_sv(&b)));
	check(!normalize_is_service(in) || sv_eq(in, sbuf_sv(&b)));
	sbuf_reset(&b);
	normalize_name(&b, in);
	check(b.len > 0 && b.len <= NORMALIZE_MAX_NAME && b.data[b.len - 1] != '_');
	check(normalize_is_name(in) == sv_eq(in, sbuf_sv(&b)));
	sbuf_reset(&b);
	utf8_add_valid(&b, in);
	check(utf8_valid(sbuf_sv(&b)));
	check(utf8_valid(in) == sv_eq(in, sbuf_sv(&b)));
	struct sv valid = sbuf_sv(&b);
	for (size_t max = 0; max < 8; max++)
		check(utf8_valid(utf8_cut(valid, max)) && utf8_cut(valid, max).len <= max);
	sbuf_reset(&b);
	sbuf_add_json(&b, in);
	check(utf8_valid(sbuf_sv(&b)));
	sbuf_release(&b);
	return 0;
}
