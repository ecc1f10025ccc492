/* SPDX-License-Identifier: Apache-2.0 */
/* The reader of heads as the kernel runs it, against the same one here: bit for bit, over the fuzzer's seeds and random heads.
 * Skipped where no program may be loaded (not root, emulated). SPANHOUND_SOAK=1: a hundred times as many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <sys/mman.h>
#include <unistd.h>

#include "head_help.h"
#include "propagation_vectors.h"

#define HEADS 20000

static struct bpf_object *object;
static struct head_case *in_kernel; /* mapped */
static int program = -1, forward = -1;
static const char *why_not = "nothing was loaded";

static int load(void **state)
{
	char path[PATH_MAX + 16];
	(void)state;
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX);
	assert_true(n > 0);
	int map = bpf_map_create(BPF_MAP_TYPE_ARRAY, "any", 4, 4, 1, NULL);
	if (map == -EPERM || map == -ENOSYS) {
		why_not = strerror(-map);
		return 0;
	}
	close(map);
	path[n] = '\0';
	strcpy(strrchr(path, '/'), "/head.bpf.o");
	object = bpf_object__open_file(path, NULL);
	assert_non_null(object);
	assert_int_equal(bpf_object__load(object), 0);
	program = bpf_program__fd(bpf_object__find_program_by_name(object, "head_read"));
	forward = bpf_program__fd(bpf_object__find_program_by_name(object, "head_forward"));
	map = bpf_object__find_map_fd_by_name(object, "cases");
	in_kernel = mmap(NULL, sizeof(*in_kernel), PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
	assert_true(in_kernel != MAP_FAILED);
	return 0;
}

static int unload(void **state)
{
	(void)state;
	if (in_kernel)
		munmap(in_kernel, sizeof(*in_kernel));
	bpf_object__close(object);
	return 0;
}

static void need_program(void)
{
	if (program >= 0)
		return;
	print_message("no program can be loaded here: %s\n", why_not);
	skip();
}

static void run_in_kernel(int which)
{
	LIBBPF_OPTS(bpf_test_run_opts, run);
	assert_int_equal(bpf_prog_test_run_opts(which, &run), 0);
	assert_int_equal(run.retval, 0);
}

/* Each behind the one before it: what is left of that does not matter, and is left alike. */
static void same_by(const char *text, size_t len, __u32 reads)
{
	static struct head_case here;
	head_put(in_kernel, text, len, "");
	in_kernel->reads = reads;
	head_read(&here, text, len, "", reads);
	run_in_kernel(program);
	if (memcmp(&here, in_kernel, sizeof(here)) != 0)
		fail_msg("the kernel reads it otherwise: end %u and %u, flags %x and %x, unsure %u and %u:\n%.*s",
			 here.head.end, in_kernel->head.end, here.head.flags, in_kernel->head.flags, here.remote.unsure,
			 in_kernel->remote.unsure, (int)len, text);
}

static void same_forward(const char *text, size_t len)
{
	static struct head_case here;
	head_put(in_kernel, text, len, "");
	head_forward(&here, text, len, "");
	run_in_kernel(forward);
	if (memcmp(&here, in_kernel, sizeof(here)) != 0)
		fail_msg("the kernel hands it on otherwise: bad %d and %d:\n%.*s", here.forward.bad != 0,
			 in_kernel->forward.bad != 0, (int)len, text);
}

/* Of every style, in whichever order. */
static void same(const char *text, size_t len)
{
	static __u64 rng = 3;
	same_by(text, len, head_any_reads(&rng));
	same_forward(text, len);
}

static void seeds(void **state)
{
	char path[PATH_MAX], text[SH_MAX_HEAD];
	struct dirent *e;
	int cnt = 0;
	(void)state;
	need_program();
	DIR *d = opendir("tests/fuzz/head.corpus");
	assert_non_null(d);
	while ((e = readdir(d))) {
		snprintf(path, sizeof(path), "tests/fuzz/head.corpus/%s", e->d_name);
		FILE *f = e->d_name[0] == '.' ? NULL : fopen(path, "re");
		if (!f)
			continue;
		(void)getc(f);
		same(text, fread(text, 1, sizeof(text), f));
		fclose(f);
		cnt++;
	}
	closedir(d);
	assert_true(cnt >= 5);
}

/* What the suites of others ask for. */
static void vectors(void **state)
{
	struct vectors all;
	struct vector *v;
	(void)state;
	need_program();
	vectors_open(&all);
	while ((v = vectors_next(&all))) {
		struct propagation_settings settings;
		vector_settings(v, &settings);
		same_by(sbuf_str(&v->head), v->head.len, propagation_reads(&settings));
	}
	vectors_close(&all);
}

static const char whole[] =
	"GET / HTTP/1.1\r\nx-datadog-trace-id: 11803532876627986230\r\nx-datadog-parent-id: 67667974448284343\r\n"
	"x-datadog-tags: _dd.p.tid=6b01f95000000000\r\nContent-Length: 18446744073709551615\r\n\r\nhello, hello";

static void bounds(void **state)
{
	static char text[SH_MAX_HEAD];
	(void)state;
	need_program();
	same("", 0);
	for (int c = 0; c < 256; c++) {
		memset(text, c, sizeof(text));
		same(text, sizeof(text));
	}
	for (size_t len = 0; len < sizeof(whole); len++)
		same(whole, len);
	/* The interesting line wherever it may lie. */
	for (size_t pad = SH_MAX_HEAD - 120; pad < SH_MAX_HEAD - 16; pad++) {
		int len = snprintf(text, sizeof(text),
				   "GET /%0*d HTTP/1.1\r\nx-datadog-tags: _dd.p.tid=6b01f95000000000\r\n\r\n", (int)pad,
				   0);
		same(text, len < (int)sizeof(text) ? (size_t)len : sizeof(text));
	}
}

static void random_heads(void **state)
{
	static char text[SH_MAX_HEAD];
	const char *soak = getenv("SPANHOUND_SOAK");
	long cnt = soak && strcmp(soak, "1") == 0 ? 100L * HEADS : HEADS;
	__u64 rng = 7;
	(void)state;
	need_program();
	for (long i = 0; i < cnt; i++) {
		head_make(&rng, text, sizeof(text));
		size_t len = strlen(text);
		same(text, head_below(&rng, 8) ? len : head_below(&rng, len));
		if (i % 16)
			continue;
		static const char letters[] = "\r\n\r\n\r\n: -x0a,=\tdB3\x1a\xff";
		len = head_below(&rng, sizeof(text) + 1);
		for (size_t j = 0; j < len; j++)
			text[j] = letters[head_below(&rng, sizeof(letters) - 1)];
		same(text, len);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(seeds),
		cmocka_unit_test(vectors),
		cmocka_unit_test(bounds),
		cmocka_unit_test(random_heads),
	};
	return cmocka_run_group_tests(tests, load, unload);
}
