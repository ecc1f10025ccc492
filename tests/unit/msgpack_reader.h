/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_MSGPACK_READER_H
#define TESTS_MSGPACK_READER_H

/* --- a decoder of msgpack, written from its specification, with nothing of the encoder's ----------------------------
 */

struct reader {
	const unsigned char *at, *end;
};

static inline uint64_t big_endian(struct reader *r, int n)
{
	uint64_t v = 0;
	assert_true(r->end - r->at >= n);
	while (n-- > 0)
		v = v << 8 | *r->at++;
	return v;
}

/* 'i' integer, 's' string, 'a' array, 'm' map, 'f' float; the number, length or count in *ret. */
static inline char next(struct reader *r, uint64_t *ret)
{
	unsigned char b = (unsigned char)big_endian(r, 1);
	*ret = 0;
	if (b < 0x80) {
		*ret = b;
		return 'i';
	}
	if (b >= 0xe0) {
		*ret = (uint64_t)(int8_t)b;
		return 'i';
	}
	if (b < 0xc0) {
		*ret = b & (b < 0xa0 ? 0x0f : 0x1f);
		return b < 0x90 ? 'm' : b < 0xa0 ? 'a' : 's';
	}
	switch (b) {
	case 0xcb:
		*ret = big_endian(r, 8);
		return 'f';
	case 0xcc ... 0xcf:
		*ret = big_endian(r, 1 << (b - 0xcc));
		return 'i';
	case 0xd0 ... 0xd3: {
		int n = 1 << (b - 0xd0);
		*ret = (uint64_t)((int64_t)(big_endian(r, n) << (64 - 8 * n)) >> (64 - 8 * n));
		return 'i';
	}
	case 0xd9 ... 0xdb:
		*ret = big_endian(r, 1 << (b - 0xd9));
		return 's';
	case 0xdc ... 0xdd:
		*ret = big_endian(r, 2 << (b - 0xdc));
		return 'a';
	case 0xde ... 0xdf:
		*ret = big_endian(r, 2 << (b - 0xde));
		return 'm';
	default:
		fail_msg("byte %02x is no msgpack this format uses", b);
		return 0;
	}
}

static inline void pass_over(struct reader *r)
{
	uint64_t n;
	switch (next(r, &n)) {
	case 's':
		assert_true((uint64_t)(r->end - r->at) >= n);
		r->at += n;
		break;
	case 'm':
		n *= 2;
		/* fallthrough */
	case 'a':
		while (n-- > 0)
			pass_over(r);
		break;
	}
}

static inline uint64_t expect(struct reader *r, char kind)
{
	uint64_t n;
	assert_int_equal(next(r, &n), kind);
	return n;
}

static inline struct sv expect_str(struct reader *r)
{
	uint64_t n = expect(r, 's');
	assert_true((uint64_t)(r->end - r->at) >= n);
	struct sv s = {(const char *)r->at, n};
	r->at += n;
	return s;
}

/* The value of `key` in the map at *r (which is not moved); fails when it is there twice. */
static inline bool lookup(struct reader r, const char *key, struct reader *ret)
{
	bool found = false;
	for (uint64_t n = expect(&r, 'm'); n > 0; n--) {
		if (sv_eq(expect_str(&r), sv_of(key))) {
			assert_false(found);
			found = true;
			*ret = r;
		}
		pass_over(&r);
	}
	return found;
}

static inline struct reader get(struct reader r, const char *key)
{
	struct reader v = {0};
	if (!lookup(r, key, &v))
		fail_msg("no key %s", key);
	return v;
}

static inline int64_t get_int(struct reader r, const char *key)
{
	struct reader v = get(r, key);
	return (int64_t)expect(&v, 'i');
}

static inline void check_str(struct reader r, const char *key, const char *want)
{
	struct reader v = get(r, key);
	struct sv s = expect_str(&v);
	assert_int_equal(s.len, strlen(want));
	assert_memory_equal(s.data, want, s.len);
}

static inline double get_float(struct reader r, const char *key)
{
	struct reader v = get(r, key);
	uint64_t bits = expect(&v, 'f');
	double d;
	memcpy(&d, &bits, sizeof(d));
	return d;
}

static inline struct reader element(struct reader r, uint64_t i)
{
	assert_true(i < expect(&r, 'a'));
	while (i-- > 0)
		pass_over(&r);
	return r;
}

static inline struct reader reader_of(struct sv s)
{
	return (struct reader){(const unsigned char *)s.data, (const unsigned char *)s.data + s.len};
}

#endif
