/* SPDX-License-Identifier: Apache-2.0 */
#include "binary/unwind.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/vec.h"
#include "binary/eh_cursor.h"
#include "binary/personality.h"

struct cie {
	uint64_t offset; /* in the section */
	uint8_t fde_encoding;
	uint8_t lsda_encoding; /* PE_OMIT: its FDEs have none */
	bool sized;	       /* its FDEs say how long their augmentation is */
	bool opaque;	       /* what its FDEs' augmentation holds is not known */
	uint32_t personality;
};

struct reader {
	struct elf *elf;
	struct unwind *u;
	struct sv section;
	uint64_t vaddr;
	void *owned;	      /* the section's bytes */
	bool open_ended;      /* where it ends is not known but by its terminator */
	VEC(struct cie) cies; /* by offset, as met */
	VEC(struct unwind_function) functions;
	struct personality_cache personalities;
};

static void reader_release(struct reader *r)
{
	free(r->owned);
	vec_release(&r->cies);
	vec_release(&r->functions);
}

/* `c` is behind the CIE's id. */
static int reader_cie(struct reader *r, struct eh_cursor *c, uint64_t offset)
{
	struct cie cie = {.offset = offset, .fde_encoding = PE_ABSPTR, .lsda_encoding = PE_OMIT};
	uint8_t version = eh_byte(c), encoding;
	struct sv augmentation = elf_string((struct sv){c->data, c->len}, 0, 16);
	if (!augmentation.data || (version != 1 && version != 3 && version != 4) || r->cies.cnt >= UNWIND_CIE_MAX)
		return -EBADMSG;
	eh_take(c, NULL, augmentation.len + 1);
	if (version == 4)
		eh_take(c, NULL, 2); /* address and segment size */
	eh_leb128(c, false);
	eh_leb128(c, true);
	if (version == 1)
		eh_take(c, NULL, 1);
	else
		eh_leb128(c, false);
	cie.sized = augmentation.len && augmentation.data[0] == 'z';
	if (cie.sized)
		eh_leb128(c, false);
	else if (augmentation.len)
		return -EBADMSG; /* "eh", of GCC 2 */
	for (size_t i = 1; i < augmentation.len && !c->failed; i++) {
		switch (augmentation.data[i]) {
		case 'R':
			cie.fde_encoding = eh_byte(c);
			break;
		case 'L':
			cie.lsda_encoding = eh_byte(c);
			break;
		case 'P': {
			encoding = eh_byte(c);
			uint64_t pointer = encoding == PE_OMIT ? 0 : eh_pointer(c, encoding & ~PE_INDIRECT);
			if (pointer && !c->failed)
				cie.personality = personality_of(&r->personalities, pointer, encoding & PE_INDIRECT);
			break;
		}
		case 'S': /* signal frame; B and G: arm64 pointer signing, memory tags */
		case 'B':
		case 'G':
			break;
		default: /* what follows an unknown letter cannot be placed */
			cie.opaque = true;
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

/* Where the tables of this function's exceptions are, as `struct unwind_function` keeps it. `c` is behind the length.
 */
static int32_t reader_lsda(const struct reader *r, struct eh_cursor *c, const struct cie *cie)
{
	if (cie->opaque)
		return UNWIND_LSDA_UNKNOWN;
	if (cie->lsda_encoding == PE_OMIT || !cie->sized)
		return 0;
	uint64_t len = eh_leb128(c, false);
	struct eh_cursor augmentation = {c->data, len, c->vaddr, c->failed || len > c->len};
	uint64_t lsda = eh_pointer(&augmentation, cie->lsda_encoding);
	int64_t distance = (int64_t)(lsda - r->vaddr);
	if (!augmentation.failed && !lsda)
		return 0;
	bool kept = !augmentation.failed && !(cie->lsda_encoding & PE_INDIRECT) && distance && distance > INT32_MIN &&
		    distance <= INT32_MAX;
	return kept ? (int32_t)distance : UNWIND_LSDA_UNKNOWN;
}

/* `c` is behind the FDE's pointer to its CIE, which every linker puts before it. */
static int reader_fde(struct reader *r, struct eh_cursor *c, uint64_t cie_offset)
{
	const struct cie *cie = reader_find_cie(r, cie_offset);
	if (!cie)
		return -EBADMSG;
	uint64_t start = eh_pointer(c, cie->fde_encoding);
	uint64_t len = eh_value(c, cie->fde_encoding);
	if (c->failed)
		return -EBADMSG;
	const struct elf_range *range = elf_range_at(r->elf, start);
	if (len == 0 || len > UINT32_MAX || !range || start >= 1ULL << 48) {
		r->u->skipped++;
		return 0;
	}
	if (r->functions.cnt >= UNWIND_FUNCTION_MAX) {
		r->u->skipped++;
		return -EBADMSG;
	}
	struct unwind_function f = {
		.start = start, .personality = cie->personality, .len = (uint32_t)len, .lsda = reader_lsda(r, c, cie)};
	return vec_push(&r->functions, f);
}

static int reader_run(struct reader *r)
{
	struct eh_cursor c = {r->section.data, r->section.len, r->vaddr, false};
	while (c.len >= 4) {
		uint64_t offset = r->section.len - c.len, len = eh_int(&c, 4, false);
		if (len == 0 && r->open_ended)
			break;
		if (len == 0) /* ends the table of one crtend.o, which may be followed by more */
			continue;
		if (len == UINT32_MAX)
			len = eh_int(&c, 8, false);
		if (c.failed || len < 4 || len > c.len)
			return -EBADMSG;
		struct eh_cursor record = {c.data, len, c.vaddr, false};
		uint64_t id_offset = r->section.len - c.len, id = eh_int(&record, 4, false);
		eh_take(&c, NULL, len);
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
		r->section = elf_section_bytes_owned(r->elf, s, &r->owned);
		r->vaddr = s->vaddr;
		return;
	}
	uint64_t hdr = r->elf->eh_frame_hdr;
	struct sv head = hdr ? elf_memory(r->elf, hdr, 12) : SV_NULL;
	if (!head.data || head.data[0] != 1)
		return;
	struct eh_cursor c = {head.data + 4, 8, hdr + 4, false};
	r->vaddr = eh_pointer(&c, (uint8_t)head.data[1]);
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
	u->lsda_base = r.vaddr;
	*ret = move_ptr(u);
	return 0;
}

void unwind_close(struct unwind *u)
{
	if (!u)
		return;
	free(u->functions);
	free(u->tables_owned);
	free(u);
}

size_t unwind_function_behind(const struct unwind *u, uint64_t vaddr)
{
	size_t lo = 0, hi = u->cnt;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (u->functions[mid].start <= vaddr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

const struct unwind_function *unwind_function_at(const struct unwind *u, uint64_t vaddr)
{
	size_t behind = unwind_function_behind(u, vaddr);
	const struct unwind_function *f = behind ? &u->functions[behind - 1] : NULL;
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
