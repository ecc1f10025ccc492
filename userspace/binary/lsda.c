/* SPDX-License-Identifier: Apache-2.0 */
#include "binary/lsda.h"

#include <errno.h>

#include "binary/eh_cursor.h"

/* One function's table while it is read. */
struct lsda {
	struct elf *elf;
	const struct unwind_function *function;
	uint64_t pads_base; /* "LPStart": what landing pads are relative to */
	uint8_t encoding;   /* of the call sites */
};

/* Without section headers the tables are taken to reach to the end of their segment. */
static bool tables_load(struct unwind *u, struct elf *elf, uint64_t lsda)
{
	const struct elf_section *s = elf_section(elf, ".gcc_except_table");
	if (s && lsda >= s->vaddr && lsda - s->vaddr < s->size) {
		u->tables_vaddr = s->vaddr;
		u->tables = elf_section_bytes_owned(elf, s, &u->tables_owned);
		return u->tables.data;
	}
	for (size_t i = 0; i < elf->segment_cnt && !u->tables.data; i++) {
		const struct elf_segment *seg = &elf->segments[i];
		if (lsda < seg->vaddr || lsda - seg->vaddr >= seg->file_sz)
			continue;
		u->tables_vaddr = seg->vaddr;
		u->tables = elf_bytes_owned(elf, seg->offset, seg->file_sz, &u->tables_owned);
	}
	return u->tables.data;
}

static bool tables_hold(const struct unwind *u, uint64_t vaddr)
{
	return u->tables.data && vaddr >= u->tables_vaddr && vaddr - u->tables_vaddr < u->tables.len;
}

static bool tables_at(struct unwind *u, struct elf *elf, uint64_t lsda, struct eh_cursor *ret)
{
	if (!tables_hold(u, lsda)) {
		free(u->tables_owned);
		u->tables = SV_NULL;
		u->tables_owned = NULL;
		if (!tables_load(u, elf, lsda))
			return false;
	}
	uint64_t skip = lsda - u->tables_vaddr;
	*ret = (struct eh_cursor){u->tables.data + skip, u->tables.len - skip, lsda, false};
	return true;
}

/* Up to the call-site table, which is all that `c` holds afterwards. */
static bool lsda_head(struct lsda *l, struct eh_cursor *c)
{
	uint8_t encoding = eh_byte(c);
	if (encoding & PE_INDIRECT && encoding != PE_OMIT)
		return false;
	l->pads_base = encoding == PE_OMIT ? l->function->start : eh_pointer(c, encoding);
	if (eh_byte(c) != PE_OMIT) /* the types that are caught are behind the call sites: this far */
		eh_leb128(c, false);
	l->encoding = eh_byte(c);
	uint64_t len = eh_leb128(c, false);
	if (c->failed || (l->encoding & ~PE_FORMAT) || len > c->len)
		return false;
	c->len = len;
	return true;
}

static bool is_code(const struct elf *elf, uint64_t vaddr)
{
	const struct elf_range *r = elf_range_at(elf, vaddr);
	return r && !r->is_plt;
}

/* What the personality looks at first is checked too: a table that is none is not likely to hold up to it. */
static int lsda_call_site(struct lsda *l, struct eh_cursor *c, uint64_t *at, struct landing_pads *out)
{
	uint64_t start = eh_value(c, l->encoding), len = eh_value(c, l->encoding);
	uint64_t pad = eh_value(c, l->encoding);
	eh_leb128(c, false); /* action */
	if (c->failed || start < *at || start > l->function->len || len > l->function->len - start)
		return -EBADMSG;
	*at = start + len;
	if (!pad)
		return 0;
	pad += l->pads_base;
	return is_code(l->elf, pad) ? vec_push(out, pad) : -EBADMSG;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static void sort_once(struct landing_pads *pads, size_t from)
{
	size_t cnt = from;
	if (pads->cnt == from)
		return;
	qsort(pads->data + from, pads->cnt - from, sizeof(*pads->data), compare);
	for (size_t i = from; i < pads->cnt; i++)
		if (i == from || pads->data[i] != pads->data[cnt - 1])
			pads->data[cnt++] = pads->data[i];
	pads->cnt = cnt;
}

static int function_pads(struct unwind *u, struct elf *elf, const struct unwind_function *f, struct landing_pads *out)
{
	struct lsda l = {.elf = elf, .function = f};
	struct eh_cursor c;
	size_t from = out->cnt;
	uint64_t at = 0;

	if (!f->lsda)
		return 0;
	if (f->lsda == UNWIND_LSDA_UNKNOWN || !tables_at(u, elf, u->lsda_base + (uint64_t)(int64_t)f->lsda, &c) ||
	    !lsda_head(&l, &c))
		return -EBADMSG;
	for (size_t n = 0; c.len > 0; n++) {
		int rc = n < LSDA_CALL_SITE_MAX ? lsda_call_site(&l, &c, &at, out) : -E2BIG;
		if (rc < 0)
			return rc;
	}
	sort_once(out, from);
	return 0;
}

int unwind_landing_pads(struct unwind *u, struct elf *elf, uint64_t start, uint64_t end, struct landing_pads *out)
{
	size_t first = unwind_function_behind(u, start);
	if (u->damaged)
		return -EBADMSG;
	while (first > 0 && u->functions[first - 1].start + u->functions[first - 1].len > start)
		first--;
	for (size_t i = first; i < u->cnt && u->functions[i].start < end; i++) {
		int rc = function_pads(u, elf, &u->functions[i], out);
		if (rc < 0)
			return rc;
	}
	return 0;
}
