/* SPDX-License-Identifier: Apache-2.0 */
/* For the Agent that turns out not to take v0.5 when spans are already encoded. Reads what v05.c writes, no more. */
#include <errno.h>

#include "export/v04.h"
#include "export/v05.h"

struct reader {
	const unsigned char *at, *end;
	const struct v05_strings *strings;
	bool failed;
};

static uint64_t read_bytes(struct reader *r, unsigned n)
{
	uint64_t v = 0;
	if (r->failed || (size_t)(r->end - r->at) < n) {
		r->failed = true;
		return 0;
	}
	while (n-- > 0)
		v = v << 8 | *r->at++;
	return v;
}

/* An integer of either sign, as its two's complement. */
static uint64_t read_int(struct reader *r)
{
	unsigned b = (unsigned)read_bytes(r, 1);
	if (b < 0x80)
		return b;
	if (b >= 0xe0)
		return (uint64_t)(int64_t)(int8_t)b;
	if (b >= 0xcc && b <= 0xcf)
		return read_bytes(r, 1u << (b - 0xcc));
	if (b < 0xd0 || b > 0xd3) {
		r->failed = true;
		return 0;
	}
	unsigned bits = 8u << (b - 0xd0);
	return (uint64_t)((int64_t)(read_bytes(r, bits / 8) << (64 - bits)) >> (64 - bits));
}

static double read_double(struct reader *r)
{
	double d;
	if (read_bytes(r, 1) != 0xcb)
		r->failed = true;
	uint64_t bits = read_bytes(r, 8);
	memcpy(&d, &bits, sizeof(d));
	return d;
}

/* The head of an array (fix 0x90, 0xdc, 0xdd) or of a map (fix 0x80, 0xde, 0xdf). Each element takes a byte at least,
 * so no count is taken that the rest cannot hold. */
static uint32_t read_head(struct reader *r, unsigned fix, unsigned wide)
{
	unsigned b = (unsigned)read_bytes(r, 1);
	uint64_t n = (b & 0xf0) == fix ? b & 15
		     : b == wide       ? read_bytes(r, 2)
		     : b == wide + 1   ? read_bytes(r, 4)
				       : UINT64_MAX;
	if (n > (uint64_t)(r->end - r->at))
		r->failed = true;
	return r->failed ? 0 : (uint32_t)n;
}

static struct sv read_string(struct reader *r)
{
	uint64_t i = read_int(r);
	if (r->failed || i >= r->strings->list.cnt) {
		r->failed = true;
		return SV("");
	}
	const struct v05_string *s = &r->strings->list.data[i];
	return (struct sv){r->strings->text.data + s->at, s->len};
}

struct scratch {
	VEC(struct tag) meta;
	VEC(struct metric) metrics;
	size_t meta_sz; /* bytes of keys and values */
};

static int read_maps(struct reader *r, struct scratch *s)
{
	int err = 0;
	s->meta.cnt = s->metrics.cnt = s->meta_sz = 0;
	for (uint32_t n = read_head(r, 0x80, 0xde); n > 0 && !r->failed && !err; n--) {
		struct sv key = read_string(r), value = read_string(r);
		s->meta_sz += key.len + value.len;
		err = vec_push(&s->meta, ((struct tag){key, value}));
	}
	for (uint32_t n = read_head(r, 0x80, 0xde); n > 0 && !r->failed && !err; n--) {
		struct sv key = read_string(r);
		double value = read_double(r);
		err = vec_push(&s->metrics, ((struct metric){key, value}));
	}
	return err;
}

static int one_span(struct packer *to, struct reader *r, struct scratch *s)
{
	struct v04_fields f = {0};
	if (read_head(r, 0x90, 0xdc) != 12)
		r->failed = true;
	f.service = read_string(r);
	f.name = read_string(r);
	f.resource = read_string(r);
	f.trace_id = read_int(r);
	f.span_id = read_int(r);
	f.parent_id = read_int(r);
	f.start = (int64_t)read_int(r);
	f.duration = (int64_t)read_int(r);
	f.error = (int32_t)read_int(r);
	int err = read_maps(r, s);
	f.type = read_string(r);
	if (err < 0 || r->failed)
		return err < 0 ? err : -EINVAL;
	f.meta = s->meta.data;
	f.metrics = s->metrics.data;
	f.meta_cnt = s->meta.cnt;
	f.meta_sz = s->meta_sz;
	f.metric_cnt = s->metrics.cnt;
	return v04_span(to, &f);
}

ssize_t v05_to_v04(struct packer *to, const struct v05_strings *strings, struct sv chunk)
{
	struct reader r = {(const unsigned char *)chunk.data, (const unsigned char *)chunk.data + chunk.len, strings,
			   false};
	struct scratch scratch = {0};
	size_t before = to->len;
	uint32_t spans = read_head(&r, 0x90, 0xdc);
	char *at = packer_reserve(to, PACKER_HEAD_MAX);
	int err = !at ? -ENOMEM : r.failed ? -EINVAL : 0;
	if (!err) {
		put_array(&at, spans);
		to->len = (size_t)(at - to->data);
	}
	for (; spans > 0 && !err; spans--)
		err = one_span(to, &r, &scratch);
	vec_release(&scratch.meta);
	vec_release(&scratch.metrics);
	if (err < 0) {
		to->len = before;
		return err;
	}
	return (ssize_t)(r.at - (const unsigned char *)chunk.data);
}
