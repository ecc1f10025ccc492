/* SPDX-License-Identifier: Apache-2.0 */
#include "binary/golang.h"

#include <string.h>

#define MAGIC	    "\xff Go buildinf:"
#define FLAGS_AT    15
#define FLAG_INLINE 2
#define VERSION_AT  32 /* its length, a varint, before it */
#define MAX_MINOR   999

unsigned golang_minor(struct elf *elf)
{
	struct sv info = elf_section_bytes(elf, elf_section(elf, ".go.buildinfo"));
	if (info.len <= VERSION_AT || memcmp(info.data, MAGIC, sizeof(MAGIC) - 1) != 0 ||
	    !(info.data[FLAGS_AT] & FLAG_INLINE))
		return 0;
	size_t len = (uint8_t)info.data[VERSION_AT]; /* versions are shorter than 128 bytes: a varint of one byte */
	struct sv version = {info.data + VERSION_AT + 1, len};
	if (len >= 128 || len > info.len - VERSION_AT - 1 || !sv_starts(version, SV("go1.")))
		return 0;
	unsigned minor = 0;
	for (size_t i = 4; i < len && version.data[i] >= '0' && version.data[i] <= '9' && minor <= MAX_MINOR; i++)
		minor = minor * 10 + (unsigned)(version.data[i] - '0');
	return minor <= MAX_MINOR ? minor : 0;
}

unsigned golang_goid_offset(struct elf *elf)
{
	/* struct g in src/runtime/runtime2.go of each. 1.23 added syscallbp, 1.25 took gobuf.ret away. */
	static const struct {
		unsigned first, last, offset;
	} known[] = {{18, 22, 152}, {23, 24, 160}, {25, 26, 152}};
	unsigned minor = elf->machine == EM_X86_64 ? golang_minor(elf) : 0;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (minor >= known[i].first && minor <= known[i].last)
			return known[i].offset;
	return 0;
}
