/* SPDX-License-Identifier: Apache-2.0 */
/* What is made of libbpf's words when a program is refused; the texts are those of libbpf 1.1 on Linux 6.1 and 6.12. */
#include "kernel/load_log.h"

// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

static void check(const char *log, const char *want)
{
	struct sbuf out = {0};
	load_log_explain(sv_of(log), &out);
	assert_string_equal(sbuf_str(&out), want);
	sbuf_release(&out);
}

static void test_verdict(void **state)
{
	(void)state;
	check("libbpf: prog 'inject_message': BPF program load failed: Permission denied\n"
	      "libbpf: prog 'inject_message': -- BEGIN PROG LOAD LOG --\n"
	      "1250: (71) r6 = *(u8 *)(r6 +0)        ; R6_w=scalar(umax=255,var_off=(0x0; 0xff))\n"
	      "; to[i] = s->block[i];\n"
	      "1251: (73) *(u8 *)(r0 +0) = r6\n"
	      "invalid access to packet, off=0 size=1, R0(id=271,off=0,r=0)\n"
	      "R0 offset is outside of the packet\n"
	      "processed 9774 insns (limit 1000000) max_states_per_insn 4\n"
	      "-- END PROG LOAD LOG --\n"
	      "libbpf: prog 'inject_message': failed to load: -13\n"
	      "libbpf: failed to load object 'spanhound'\n",
	      "program inject_message: 1251: (73) *(u8 *)(r0 +0) = r6; invalid access to packet, off=0 size=1, "
	      "R0(id=271,off=0,r=0); R0 offset is outside of the packet");
	check("libbpf: prog 'a': BPF program load failed: Invalid argument\n"
	      "libbpf: prog 'a': -- BEGIN PROG LOAD LOG --\n"
	      "1: (b4) w2 = 16                    ; R2_w=16 refs=150\n"
	      "unknown func\tbpf_get_current_comm#16\n"
	      "-- END PROG LOAD LOG --\n",
	      "program a: 1: (b4) w2 = 16; unknown func bpf_get_current_comm#16");
}

/* The log may be cut off, or not be there at all. */
static void test_less(void **state)
{
	(void)state;
	check("", "");
	check("nothing is wrong\n", "");
	check("libbpf: prog 'a': BPF program load failed: Invalid argument", "program a: Invalid argument");
	check("libbpf: prog 'a': BPF program load failed: x\n-- BEGIN PROG LOAD LOG --\nlast\n", "program a: last");
	check("libbpf: prog 'a': BPF program load failed: x\n-- BEGIN PROG LOAD LOG --", "program a");
	check("': BPF program load failed: x\n", "program : x");
	check("libbpf: map 'inject_plain': failed to create: Operation not permitted(-1)\nlibbpf: more failed\n",
	      "map 'inject_plain': failed to create: Operation not permitted(-1)");
}

static void test_long_lines(void **state)
{
	char log[1000] = "libbpf: prog 'a': BPF program load failed: ";
	size_t len = strlen(log);
	(void)state;
	memset(log + len, 'x', sizeof(log) - 1 - len);
	struct sbuf out = {0};
	load_log_explain((struct sv){log, sizeof(log) - 1}, &out);
	assert_int_equal(out.len, strlen("program a: ") + 120);
	sbuf_release(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verdict),
		cmocka_unit_test(test_less),
		cmocka_unit_test(test_long_lines),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
