/* SPDX-License-Identifier: Apache-2.0 */
#include "binary/unwind.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/vec.h"
#include "binary/personality.h"

/* Pointer encodings (LSB, "DWARF Exception Header Encoding"). */
enum {
	PE_ABSPTR = 0x00,
	PE_ULEB128 = 0x01,
	PE_UDATA2 = 0x02,
	PE_UDATA4 = 0x03,
	PE_UDATA8 = 0x04,
	PE_SLEB128 = 0x09,
	PE_SDATA2 = 0x0a,
	PE_SDATA4 = 0x0b,
	PE_SDATA8 = 0x0c,
	PE_FORMAT = 0x0f,
	PE_PCREL = 0x10,
	PE_ALIGNED = 0x50,
	PE_APPLICATION = 0x70,
	PE_INDIRECT = 0x80,
	PE_OMIT = 0xff,
};

/* Bytes still to read; `vaddr` is where data[0] is when loaded. Reading past the end gives zeroes and sets `failed`. */
struct cursor {
	const char *data;
	size_t len;
	uint64_t vaddr;
	bool failed;
};

static bool cursor_take(struct cursor *c, void *to, size_t len)
{
	if (c->failed || len > c->len) {
		c->failed = true;
		if (to)
			memset(to, 0, len);
		return false;
	}
	if (to)
		memcpy(to, c->data, len);
	c->data += len;
	c->len -= len;
	c->vaddr += len;
	return true;
}

static uint64_t cursor_leb128(struct cursor *c, bool is_signed)
{
	uint64_t value = 0;
	uint8_t byte = 0x80;
	unsigned shift = 0;
	for (; (byte & 0x80) && cursor_take(c, &byte, 1); shift += 7)
		if (shift < 64)
			value |= (uint64_t)(byte & 0x7f) << shift;
	if (is_signed && (byte & 0x40) && shift < 64)
		value |= ~0ULL << shift;
	return value;
}

static uint64_t cursor_int(struct cursor *c, size_t len, bool is_signed)
{
	uint64_t value = 0; /* little endian, like every file elf_open() takes */
	cursor_take(c, &value, len);
	unsigned unused = 64 - 8 * (unsigned)len;
	return is_signed ? (uint64_t)((int64_t)(value << unused) >> unused) : value;
}

/* A value in one of the formats, without base; sets `failed` for one there is not. */
static uint64_t cursor_format(struct cursor *c, uint8_t encoding)
{
	switch (encoding & PE_FORMAT) {
	case PE_ULEB128:
	case PE_SLEB128:
		return cursor_leb128(c, (encoding & PE_FORMAT) == PE_SLEB128);
	case PE_UDATA2:
	case PE_SDATA2:
		return cursor_int(c, 2, (encoding & PE_FORMAT) == PE_SDATA2);
	case PE_UDATA4:
	case PE_SDATA4:
		return cursor_int(c, 4, (encoding & PE_FORMAT) == PE_SDATA4);
	case PE_ABSPTR:
	case PE_UDATA8:
	case PE_SDATA8:
		return cursor_int(c, 8, false);
	default:
		c->failed = true;
		return 0;
	}
}

/* Bases other than the place itself (text, data, function) are not written into .eh_frame by any compiler known. */
static uint64_t cursor_pointer(struct cursor *c, uint8_t encoding)
{
	uint64_t at = c->vaddr;
	if ((encoding & PE_APPLICATION) == PE_ALIGNED)
		cursor_take(c, NULL, (8 - at % 8) % 8);
	else if ((encoding & PE_APPLICATION) == PE_PCREL)
		return cursor_format(c, encoding) + at;
	else if (encoding & PE_APPLICATION)
		c->failed = true;
	return cursor_format(c, encoding);
}

struct cie {
	uint64_t offset; /* in the section */
	uint8_t fde_encoding;
	uint32_t personality;
};

struct reader {
	struct elf *elf;
	struct unwind *u;
	struct sv section;
	uint64_t vaddr;
	bool open_ended;      /* where it ends is not known but by its terminator */
	VEC(struct cie) cies; /* by offset, as met */
	VEC(struct unwind_function) functions;
	struct personality_cache personalities;
};

static void reader_release(struct reader *r)
{
	vec_release(&r->cies);
	vec_release(&r->functions);
}

/* `c` is behind the CIE's id. */
static int reader_cie(struct reader *r, struct cursor *c, uint64_t offset)
{
	struct cie cie = {.offset = offset, .fde_encoding = PE_ABSPTR};
	uint8_t version = 0, encoding;
	cursor_take(c, &version, 1);
	struct sv augmentation = elf_string((struct sv){c->data, c->len}, 0, 16);
	if (!augmentation.data || (version != 1 && version != 3 && version != 4) || r->cies.cnt >= UNWIND_CIE_MAX)
		return -EBADMSG;
	cursor_take(c, NULL, augmentation.len + 1);
	if (version == 4)
		cursor_take(c, NULL, 2); /* address and segment size */
	cursor_leb128(c, false);
	cursor_leb128(c, true);
	if (version == 1)
		cursor_take(c, NULL, 1);
	else
		cursor_leb128(c, false);
	if (augmentation.len && augmentation.data[0] == 'z')
		cursor_leb128(c, false);
	else if (augmentation.len)
		return -EBADMSG; /* "eh", of GCC 2 */
	for (size_t i = 1; i < augmentation.len && !c->failed; i++) {
		switch (augmentation.data[i]) {
		case 'R':
			cursor_take(c, &cie.fde_encoding, 1);
			break;
		case 'L':
			cursor_take(c, NULL, 1);
			break;
		case 'P': {
			cursor_take(c, &encoding, 1);
			uint64_t pointer = encoding == PE_OMIT ? 0 : cursor_pointer(c, encoding & ~PE_INDIRECT);
			if (pointer && !c->failed)
				cie.personality = personality_of(&r->personalities, pointer, encoding & PE_INDIRECT);
			break;
		}
		case 'S': /* signal frame; B and G: arm64 pointer signing, memory tags */
		case 'B':
		case 'G':
			break;
		default: /* what follows an unknown letter cannot be placed */
			i = augmentation.len;
		}
	}
	r->u->personalities |= cie.personality;
	return c->failed ? -EBADMSG : vec_push(&r->cies, cie);
}

static const struct cie *reader_find_cie(const struct reader *r, uint64_t offset)
{
	size_t lo = 0, hi = r->cies.cnt;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (r->cies.data[mid].offset < offset)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < r->cies.cnt && r->cies.data[lo].offset == offset ? &r->cies.data[lo] : NULL;
}

/* `c` is behind the FDE's pointer to its CIE, which every linker puts before it. */
static int reader_fde(struct reader *r, struct cursor *c, uint64_t cie_offset)
{
	const struct cie *cie = reader_find_cie(r, cie_offset);
	if (!cie)
		return -EBADMSG;
	uint64_t start = cursor_pointer(c, cie->fde_encoding);
	uint64_t len = cursor_format(c, cie->fde_encoding);
	if (c->failed)
		return -EBADMSG;
	const struct elf_range *range = elf_range_at(r->elf, start);
	if (len == 0 || len > UINT32_MAX || !range || r->functions.cnt >= UNWIND_FUNCTION_MAX) {
		r->u->skipped++;
		return 0;
	}
	struct unwind_function f = {start, (uint32_t)len, cie->personality};
	return vec_push(&r->functions, f);
}

static int reader_run(struct reader *r)
{
	struct cursor c = {r->section.data, r->section.len, r->vaddr, false};
	while (c.len >= 4) {
		uint64_t offset = r->section.len - c.len, len = cursor_int(&c, 4, false);
		if (len == 0 && r->open_ended)
			break;
		if (len == 0) /* ends the table of one crtend.o, which may be followed by more */
			continue;
		if (len == UINT32_MAX)
			len = cursor_int(&c, 8, false);
		if (c.failed || len < 4 || len > c.len)
			return -EBADMSG;
		struct cursor record = {c.data, len, c.vaddr, false};
		uint64_t id_offset = r->section.len - c.len, id = cursor_int(&record, 4, false);
		cursor_take(&c, NULL, len);
		/* 0: a CIE; else how far back this FDE's CIE is. */
		int err = id == 0 ? reader_cie(r, &record, offset) : reader_fde(r, &record, id_offset - id);
		if (err == -EBADMSG)
			r->u->damaged = true;
		else if (err < 0)
			return err;
	}
	return 0;
}

/* Without section headers .eh_frame_hdr says where it is, not how long: it is read to its segment's end. */
static void reader_find_section(struct reader *r)
{
	const struct elf_section *s = elf_section(r->elf, ".eh_frame");
	if (s) {
		r->section = elf_section_bytes(r->elf, s);
		r->vaddr = s->vaddr;
		return;
	}
	uint64_t hdr = r->elf->eh_frame_hdr;
	struct sv head = hdr ? elf_memory(r->elf, hdr, 12) : SV_NULL;
	if (!head.data || head.data[0] != 1)
		return;
	struct cursor c = {head.data + 4, 8, hdr + 4, false};
	r->vaddr = cursor_pointer(&c, (uint8_t)head.data[1]);
	r->open_ended = true;
	for (size_t i = 0; i < r->elf->segment_cnt && !c.failed; i++) {
		const struct elf_segment *seg = &r->elf->segments[i];
		if (r->vaddr >= seg->vaddr && r->vaddr - seg->vaddr < seg->file_sz)
			r->section = elf_memory(r->elf, r->vaddr, seg->file_sz - (r->vaddr - seg->vaddr));
	}
}

static int function_compare(const void *a, const void *b)
{
	const struct unwind_function *x = a, *y = b;
	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return x->len < y->len ? -1 : x->len > y->len;
}

int unwind_open(struct unwind **ret, struct elf *elf, const struct symtab *tab)
{
	__cleanup(unwind_closep) struct unwind *u = calloc(1, sizeof(*u));
	if (!u)
		return -ENOMEM;
	__cleanup(reader_release) struct reader r = {.elf = elf, .u = u, .personalities = {.elf = elf, .tab = tab}};
	reader_find_section(&r);
	u->present = r.section.data;
	int err = reader_run(&r);
	if (err < 0 && err != -EBADMSG)
		return err;
	u->damaged |= err == -EBADMSG;
	if (u->damaged)
		u->personalities |= UNWIND_OTHER;
	u->cnt = r.functions.cnt;
	if (u->cnt)
		qsort(r.functions.data, u->cnt, sizeof(*u->functions), function_compare);
	u->functions = move_ptr(r.functions.data);
	*ret = move_ptr(u);
	return 0;
}

void unwind_close(struct unwind *u)
{
	if (!u)
		return;
	free(u->functions);
	free(u);
}

const struct unwind_function *unwind_function_at(const struct unwind *u, uint64_t vaddr)
{
	size_t lo = 0, hi = u->cnt;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (u->functions[mid].start <= vaddr)
			lo = mid + 1;
		else
			hi = mid;
	}
	const struct unwind_function *f = lo ? &u->functions[lo - 1] : NULL;
	return f && vaddr - f->start < f->len ? f : NULL;
}

bool unwind_function_range(const struct unwind *u, uint64_t vaddr, uint64_t *ret_start, uint64_t *ret_end)
{
	const struct unwind_function *f = unwind_function_at(u, vaddr);
	if (!f)
		return false;
	*ret_start = f->start;
	*ret_end = f->start + f->len;
	return true;
}
