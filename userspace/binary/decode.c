/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "binary/decode.h"

int decode_insn(enum decode_arch arch, const uint8_t *p, size_t sz, uint64_t addr, struct insn *ret)
{
	switch (arch) {
	case DECODE_X86_64:
		return decode_x86(p, sz, addr, ret);
	case DECODE_ARM64:
		return decode_arm64(p, sz, addr, ret);
	}
	return -EILSEQ;
}

const uint8_t *code_window_at(const struct code_window *code, uint64_t addr, size_t sz)
{
	if (addr < code->addr || addr - code->addr > code->sz || sz > code->sz - (addr - code->addr))
		return NULL;
	return code->data + (addr - code->addr);
}

int decode_at(const struct code_window *code, uint64_t addr, struct insn *ret)
{
	const uint8_t *p = code_window_at(code, addr, 1);
	if (!p)
		return -EILSEQ;
	return decode_insn(code->arch, p, code->sz - (addr - code->addr), addr, ret);
}
