/* SPDX-License-Identifier: Apache-2.0 */
/* Functions with one to six arguments of every type; what was passed is known to the test by its order of calls. */
#include "truth.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct address {
	char city[16];
	const char *street;
	int32_t number;
};

struct customer {
	int64_t id;
	const char *name;
	struct address *home;
	uint16_t flags;
	char initial;
	_Bool active;
};

PROBED int64_t p_signed(int8_t a, int16_t b, int32_t c, int64_t d)
{
	ENTER("p_signed");
	RETURN(a + b + c + d);
}

PROBED uint64_t p_unsigned(uint8_t a, uint16_t b, uint32_t c, uint64_t d)
{
	ENTER("p_unsigned");
	RETURN(a + b + c + d);
}

PROBED _Bool p_small(_Bool a, char b, void *c)
{
	ENTER("p_small");
	RETURN((_Bool)(a && b && c));
}

PROBED long p_six(long a, long b, long c, long d, long e, long f)
{
	ENTER("p_six");
	RETURN(a + b + c + d + e + f);
}

PROBED long p_seven(long a, long b, long c, long d, long e, long f, long g)
{
	ENTER("p_seven");
	RETURN(a + b + c + d + e + f + g);
}

PROBED int p_string(const char *s, int n)
{
	ENTER("p_string");
	RETURN((int)(s ? 1 : 0) + n);
}

PROBED int p_bytes(const void *p, int len)
{
	ENTER("p_bytes");
	RETURN(p ? len : -1);
}

PROBED int p_struct(const struct customer *c)
{
	ENTER("p_struct");
	RETURN(c ? (int)c->id : -1);
}

PROBED const char *p_returns_string(int which)
{
	ENTER("p_returns_string");
	const char *r = which ? "returned text" : NULL;
	RETURN(r);
}

PROBED int p_fails(int errnum)
{
	ENTER("p_fails");
	RETURN(-errnum);
}

PROBED double p_floats(double a, int b, double c)
{
	ENTER("p_floats");
	RETURN(a + b + c);
}

PROBED long p_slow(long milliseconds)
{
	ENTER("p_slow");
	usleep((useconds_t)milliseconds * 1000);
	RETURN(milliseconds);
}

static void case_values(int argc, char **argv)
{
	static char text[1000];
	struct address home = {"Utrecht", "Oudegracht", 42};
	struct customer c = {1234567890123, "Ada", &home, 0xbeef, 'A', 1};

	(void)argc, (void)argv;
	p_signed(-1, -2, -3, -4);
	p_signed(INT8_MIN, INT16_MIN, INT32_MIN, INT64_MIN + 100000000000);
	p_signed(INT8_MAX, INT16_MAX, INT32_MAX, INT64_MAX - 100000000000);
	p_unsigned(1, 2, 3, 4);
	p_unsigned(UINT8_MAX, UINT16_MAX, UINT32_MAX, UINT64_MAX - 100000000000);
	p_small(1, 'x', (void *)0xabcdef);
	p_small(0, '\n', NULL);
	p_six(1, -2, 3, -4, 5, -6);
	p_seven(1, 2, 3, 4, 5, 6, 7);
	memset(text, 'y', sizeof(text) - 1);
	p_string("EUR", 1);
	p_string("", 2);
	p_string(text, 3);
	p_string("na\xc3\xafve caf\xc3\xa9", 4);
	p_string("not \xff\xfe utf-8", 5);
	p_string(NULL, 6);
	p_string((const char *)8, 7);
	p_bytes("\x00\x01\xfe\xff", 4);
	p_bytes("abcdef", 3);
	p_bytes(text, 999);
	p_struct(&c);
	c.home = NULL;
	p_struct(&c);
	p_struct(NULL);
	p_returns_string(1);
	p_returns_string(0);
	for (int i = 0; i < 4; i++)
		p_fails(i);
	p_floats(1.5, 2, 2.5);
	p_slow(1);
	p_slow(30);
}

/* A string on a page that is mapped but not in memory: of a file (argv[0]) never read, and private memory given back. */
static void case_absent(int argc, char **argv)
{
	int fd = open(argc > 0 ? argv[0] : "/proc/self/exe", O_RDONLY | O_CLOEXEC);
	const char *file = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	unsigned char here = 1;

	if (fd < 0 || file == MAP_FAILED)
		exit(4);
	madvise((void *)file, 4096, MADV_DONTNEED);
	if (mincore((void *)file, 4096, &here))
		exit(4);
	p_string(file, 1); /* never touched through this mapping */
	p_string(file, 2);
	putchar(file[0]);
	p_string(file, 3); /* now it is there */
	puts("");
}

/* `when`, `sample`, `rate`: many calls with a counting argument. argv: calls, calls per second (0: as fast as it goes). */
static void case_count(int argc, char **argv)
{
	long calls = argc > 0 ? atol(argv[0]) : 1000, per_second = argc > 1 ? atol(argv[1]) : 0;

	for (long i = 0; i < calls; i++) {
		p_six(i, i % 10, -i, i % 2, 0, 0);
		if (per_second)
			usleep((useconds_t)(1000000 / per_second));
	}
}

/* `when` over string prefixes. */
static void case_strings(int argc, char **argv)
{
	static const char *const keys[] = {"user:1", "user:2", "cart:1", "", "use", "user:", "xuser:1"};

	(void)argc, (void)argv;
	for (int i = 0; i < 70; i++)
		p_string(keys[i % 7], i);
}

static const struct truth_case cases[] = {
	{"values", case_values},
	{"absent", case_absent},
	{"count", case_count},
	{"strings", case_strings},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return truth_main(argc, argv, cases);
}
