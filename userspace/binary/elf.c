/* SPDX-License-Identifier: Apache-2.0 */
#include "binary/elf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "binary/elf_facts.h"

/* Code is read in pieces of this size: one function is wanted as often as ten thousand. */
#define ELF_CODE_PIECE_SZ (128ULL << 10)
/* Small things (headers, notes, one version entry) come with what follows them. */
#define ELF_SMALL_PIECE_SZ 4096
#define ELF_NAME_MAX	   4096

struct elf_block {
	struct elf_block *next;
	uint64_t offset;
	uint64_t len;
	char data[];
};

static bool elf_inside(const struct elf *elf, uint64_t offset, uint64_t len)
{
	return offset <= elf->file_sz && len <= elf->file_sz - offset;
}

static bool elf_pread(const struct elf *elf, char *to, uint64_t offset, uint64_t len)
{
	for (uint64_t done = 0; done < len;) {
		ssize_t n = pread(elf->fd, to + done, len - done, (off_t)(offset + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		done += (uint64_t)n;
	}
	return true;
}

static struct elf_block *elf_read_block(struct elf *elf, uint64_t offset, uint64_t len)
{
	if (len > ELF_HELD_MAX - elf->held_sz)
		return NULL;
	__cleanup(freep) struct elf_block *b = malloc(sizeof(*b) + len);
	if (!b || !elf_pread(elf, b->data, offset, len))
		return NULL;
	b->offset = offset;
	b->len = len;
	b->next = elf->blocks;
	elf->blocks = b;
	elf->held_sz += len;
	return move_ptr(b);
}

static struct sv elf_held(struct elf *elf, uint64_t offset, uint64_t len)
{
	for (struct elf_block **at = &elf->blocks; *at; at = &(*at)->next) {
		struct elf_block *b = *at;
		if (offset < b->offset || offset - b->offset > b->len || len > b->len - (offset - b->offset))
			continue;
		*at = b->next;
		b->next = elf->blocks;
		elf->blocks = b;
		return (struct sv){b->data + (offset - b->offset), len};
	}
	return SV_NULL;
}

struct sv elf_bytes(struct elf *elf, uint64_t offset, uint64_t len)
{
	if (len == 0 || !elf_inside(elf, offset, len))
		return SV_NULL;
	if (elf->memory)
		return (struct sv){elf->memory + offset, len};
	struct sv held = elf_held(elf, offset, len);
	if (held.data)
		return held;
	uint64_t piece = elf->file_sz - offset < ELF_SMALL_PIECE_SZ ? elf->file_sz - offset : ELF_SMALL_PIECE_SZ;
	struct elf_block *b = elf_read_block(elf, offset, len > piece ? len : piece);
	return b ? (struct sv){b->data, len} : SV_NULL;
}

struct sv elf_bytes_owned(struct elf *elf, uint64_t offset, uint64_t len, void **ret_owned)
{
	*ret_owned = NULL;
	if (len == 0 || !elf_inside(elf, offset, len) || len > ELF_HELD_MAX)
		return SV_NULL;
	if (elf->memory)
		return (struct sv){elf->memory + offset, len};
	__cleanup(freep) char *data = malloc(len);
	if (!data || !elf_pread(elf, data, offset, len))
		return SV_NULL;
	*ret_owned = data;
	return (struct sv){move_ptr(data), len};
}

const struct elf_section *elf_section(const struct elf *elf, const char *name)
{
	struct sv want = sv_of(name);
	for (size_t i = 0; i < elf->section_cnt; i++)
		if (sv_eq(elf->sections[i].name, want))
			return &elf->sections[i];
	return NULL;
}

struct sv elf_section_bytes(struct elf *elf, const struct elf_section *section)
{
	if (!section || section->type == SHT_NOBITS || (section->flags & SHF_COMPRESSED))
		return SV_NULL;
	return elf_bytes(elf, section->offset, section->size);
}

struct sv elf_section_bytes_owned(struct elf *elf, const struct elf_section *section, void **ret_owned)
{
	*ret_owned = NULL;
	if (!section || section->type == SHT_NOBITS || (section->flags & SHF_COMPRESSED))
		return SV_NULL;
	return elf_bytes_owned(elf, section->offset, section->size, ret_owned);
}

static const struct elf_segment *elf_segment_at(const struct elf *elf, uint64_t vaddr)
{
	const struct elf_segment *found = NULL;
	for (size_t i = 0; i < elf->segment_cnt; i++) {
		const struct elf_segment *s = &elf->segments[i];
		if (vaddr >= s->vaddr && vaddr - s->vaddr < s->file_sz && (!found || s->executable > found->executable))
			found = s;
	}
	return found;
}

bool elf_vaddr_to_offset(const struct elf *elf, uint64_t vaddr, uint64_t *ret_offset)
{
	const struct elf_segment *s = elf_segment_at(elf, vaddr);
	if (s)
		*ret_offset = s->offset + (vaddr - s->vaddr);
	return s;
}

bool elf_offset_to_vaddr(const struct elf *elf, uint64_t offset, uint64_t *ret_vaddr)
{
	const struct elf_segment *found = NULL;
	for (size_t i = 0; i < elf->segment_cnt; i++) {
		const struct elf_segment *s = &elf->segments[i];
		if (offset >= s->offset && offset - s->offset < s->file_sz &&
		    (!found || s->executable > found->executable))
			found = s;
	}
	if (found)
		*ret_vaddr = found->vaddr + (offset - found->offset);
	return found;
}

struct sv elf_memory(struct elf *elf, uint64_t vaddr, uint64_t len)
{
	const struct elf_segment *s = elf_segment_at(elf, vaddr);
	if (!s || len > s->file_sz - (vaddr - s->vaddr))
		return SV_NULL;
	return elf_bytes(elf, s->offset + (vaddr - s->vaddr), len);
}

const struct elf_range *elf_range_at(const struct elf *elf, uint64_t vaddr)
{
	size_t lo = 0, hi = elf->range_cnt;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (elf->ranges[mid].start <= vaddr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo > 0 && vaddr < elf->ranges[lo - 1].end ? &elf->ranges[lo - 1] : NULL;
}

struct sv elf_code(struct elf *elf, uint64_t vaddr, size_t len)
{
	const struct elf_range *r = elf_range_at(elf, vaddr);
	const struct elf_segment *s = r ? elf_segment_at(elf, vaddr) : NULL;
	if (!s || !s->executable || len == 0)
		return SV_NULL;
	uint64_t left = s->file_sz - (vaddr - s->vaddr);
	if (left > r->end - vaddr)
		left = r->end - vaddr;
	if (len > left)
		len = left;
	uint64_t offset = s->offset + (vaddr - s->vaddr);
	if (elf->memory)
		return elf_bytes(elf, offset, len);
	struct sv held = elf_held(elf, offset, len);
	if (held.data)
		return held;
	uint64_t piece = offset & ~(ELF_CODE_PIECE_SZ - 1), end = piece + ELF_CODE_PIECE_SZ;
	if (end > elf->file_sz)
		end = elf->file_sz;
	if (offset + len > end || !elf_read_block(elf, piece, end - piece))
		return elf_bytes(elf, offset, len);
	return elf_held(elf, offset, len);
}

struct sv elf_string(struct sv table, uint64_t offset, size_t max)
{
	if (offset >= table.len)
		return SV_NULL;
	size_t left = table.len - offset;
	size_t len = strnlen(table.data + offset, left > max ? max + 1 : left);
	if (len > max || len == left)
		return SV_NULL;
	return (struct sv){table.data + offset, len};
}

static int elf_error(struct sbuf *err, int code, const char *why)
{
	if (err)
		sbuf_adds(err, why);
	return code;
}

static int elf_check_header(const Elf64_Ehdr *h, struct sbuf *err)
{
	if (memcmp(h->e_ident, ELFMAG, SELFMAG) != 0)
		return elf_error(err, -ENOEXEC, "is not an ELF file");
	if (h->e_ident[EI_CLASS] == ELFCLASS32)
		return elf_error(err, -ENOTSUP, "is a 32-bit program");
	if (h->e_ident[EI_CLASS] != ELFCLASS64)
		return elf_error(err, -ENOEXEC, "is a damaged ELF file: unknown class");
	if (h->e_ident[EI_DATA] != ELFDATA2LSB)
		return elf_error(err, -ENOTSUP, "is a big-endian program");
	if (h->e_type != ET_EXEC && h->e_type != ET_DYN)
		return elf_error(err, -ENOTSUP, "is neither an executable nor a shared library");
	if (h->e_phnum > 0 && h->e_phentsize != sizeof(Elf64_Phdr))
		return elf_error(err, -ENOEXEC, "is a damaged ELF file: program headers of a wrong size");
	if (h->e_phnum > ELF_SEGMENT_MAX)
		return elf_error(err, -ENOEXEC, "is a damaged ELF file: too many program headers");
	return 0;
}

static int elf_read_segments(struct elf *elf, const Elf64_Ehdr *h, struct sbuf *err)
{
	if (h->e_phnum == 0)
		return 0;
	struct sv table = elf_bytes(elf, h->e_phoff, (uint64_t)h->e_phnum * sizeof(Elf64_Phdr));
	if (!table.data)
		return elf_error(err, -ENOEXEC, "is a damaged ELF file: program headers beyond its end");
	elf->segments = calloc(h->e_phnum, sizeof(*elf->segments));
	if (!elf->segments)
		return -ENOMEM;
	for (size_t i = 0; i < h->e_phnum; i++) {
		Elf64_Phdr p;
		memcpy(&p, table.data + i * sizeof(p), sizeof(p));
		if (p.p_type == PT_GNU_EH_FRAME)
			elf->eh_frame_hdr = p.p_vaddr;
		if (p.p_type == PT_INTERP)
			elf->interpreter = elf_string(elf_bytes(elf, p.p_offset, p.p_filesz), 0, ELF_NAME_MAX);
		if (p.p_type != PT_LOAD || p.p_memsz == 0 || p.p_vaddr + p.p_memsz < p.p_vaddr)
			continue;
		struct elf_segment *s = &elf->segments[elf->segment_cnt++];
		*s = (struct elf_segment){p.p_vaddr, p.p_offset, p.p_filesz, p.p_memsz, p.p_flags & PF_X};
		if (s->file_sz > s->mem_sz)
			s->file_sz = s->mem_sz;
		if (s->offset > elf->file_sz)
			s->offset = elf->file_sz;
		if (s->file_sz > elf->file_sz - s->offset)
			s->file_sz = elf->file_sz - s->offset;
	}
	return 0;
}

/* Section headers are a convenience of the linker's: a file without, or with broken ones, still runs. */
static int elf_read_sections(struct elf *elf, const Elf64_Ehdr *h)
{
	struct sv first = elf_bytes(elf, h->e_shoff, sizeof(Elf64_Shdr));
	if (h->e_shoff == 0 || h->e_shentsize != sizeof(Elf64_Shdr) || !first.data)
		return 0;
	Elf64_Shdr sh;
	memcpy(&sh, first.data, sizeof(sh));
	/* Numbers that do not fit the header are in the first section (gABI, "e_shnum", "e_shstrndx"). */
	uint64_t cnt = h->e_shnum ? h->e_shnum : sh.sh_size;
	uint64_t names_index = h->e_shstrndx == SHN_XINDEX ? sh.sh_link : h->e_shstrndx;
	if (cnt > ELF_SECTION_MAX)
		return 0;
	struct sv table = elf_bytes(elf, h->e_shoff, cnt * sizeof(Elf64_Shdr));
	if (!table.data)
		return 0;
	elf->sections = calloc(cnt, sizeof(*elf->sections));
	if (!elf->sections)
		return -ENOMEM;
	struct sv names = SV_NULL;
	if (names_index < cnt) {
		memcpy(&sh, table.data + names_index * sizeof(sh), sizeof(sh));
		if (sh.sh_type == SHT_STRTAB)
			names = elf_bytes(elf, sh.sh_offset, sh.sh_size);
	}
	for (size_t i = 0; i < cnt; i++) {
		memcpy(&sh, table.data + i * sizeof(sh), sizeof(sh));
		elf->sections[i] = (struct elf_section){.name = elf_string(names, sh.sh_name, ELF_NAME_MAX),
							.vaddr = sh.sh_addr,
							.offset = sh.sh_offset,
							.size = sh.sh_size,
							.flags = sh.sh_flags,
							.type = sh.sh_type,
							.link = sh.sh_link,
							.info = sh.sh_info};
	}
	elf->section_cnt = cnt;
	return 0;
}

static int elf_range_compare(const void *a, const void *b)
{
	const struct elf_range *x = a, *y = b;
	return x->start < y->start ? -1 : x->start > y->start;
}

static int elf_find_ranges(struct elf *elf)
{
	elf->ranges = calloc(elf->section_cnt + elf->segment_cnt + 1, sizeof(*elf->ranges));
	if (!elf->ranges)
		return -ENOMEM;
	for (size_t i = 0; i < elf->section_cnt; i++) {
		const struct elf_section *s = &elf->sections[i];
		if ((~s->flags & (SHF_ALLOC | SHF_EXECINSTR)) || s->type == SHT_NOBITS || s->size == 0 ||
		    s->vaddr + s->size < s->vaddr)
			continue;
		/* .plt, .plt.sec, .plt.got, .iplt */
		bool is_plt = sv_starts(s->name, SV(".plt")) || sv_starts(s->name, SV(".iplt"));
		elf->ranges[elf->range_cnt++] = (struct elf_range){s->vaddr, s->vaddr + s->size, is_plt};
	}
	bool have_sections = elf->range_cnt > 0;
	for (size_t i = 0; !have_sections && i < elf->segment_cnt; i++) {
		const struct elf_segment *s = &elf->segments[i];
		if (s->executable && s->file_sz)
			elf->ranges[elf->range_cnt++] = (struct elf_range){s->vaddr, s->vaddr + s->file_sz, false};
	}
	qsort(elf->ranges, elf->range_cnt, sizeof(*elf->ranges), elf_range_compare);
	return 0;
}

static int elf_read(struct elf *elf, struct sbuf *err)
{
	struct sv head = elf_bytes(elf, 0, sizeof(Elf64_Ehdr));
	if (!head.data)
		return elf_error(err, -ENOEXEC, "is not an ELF file");
	Elf64_Ehdr h;
	memcpy(&h, head.data, sizeof(h));
	int r = elf_check_header(&h, err);
	if (r < 0)
		return r;
	elf->machine = h.e_machine;
	elf->type = h.e_type;
	elf->entry = h.e_entry;
	r = elf_read_segments(elf, &h, err);
	if (r == 0)
		r = elf_read_sections(elf, &h);
	if (r == 0)
		r = elf_find_ranges(elf);
	return r < 0 ? r : elf_facts_read(elf);
}

static struct elf *elf_new(void)
{
	struct elf *elf = calloc(1, sizeof(*elf));
	if (elf) {
		elf->fd = -1;
		elf->language = -1;
	}
	return elf;
}

int elf_open(struct elf **ret, int fd, struct sbuf *err)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return elf_error(err, -ENOEXEC, "is not a regular file");
	__cleanup(elf_closep) struct elf *elf = elf_new();
	if (!elf)
		return -ENOMEM;
	elf->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (elf->fd < 0)
		return -errno;
	elf->file_sz = (uint64_t)st.st_size;
	int r = elf_read(elf, err);
	if (r == 0)
		*ret = move_ptr(elf);
	return r;
}

int elf_open_memory(struct elf **ret, const void *data, size_t len, struct sbuf *err)
{
	__cleanup(elf_closep) struct elf *elf = elf_new();
	if (!elf)
		return -ENOMEM;
	elf->memory = data ? data : "";
	elf->file_sz = len;
	int r = elf_read(elf, err);
	if (r == 0)
		*ret = move_ptr(elf);
	return r;
}

void elf_close(struct elf *elf)
{
	if (!elf)
		return;
	while (elf->blocks) {
		struct elf_block *b = elf->blocks;
		elf->blocks = b->next;
		free(b);
	}
	closep(&elf->fd);
	free(elf->needed);
	free(elf->segments);
	free(elf->sections);
	free(elf->ranges);
	free(elf->owned);
	free(elf);
}
