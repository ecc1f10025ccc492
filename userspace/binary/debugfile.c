/* SPDX-License-Identifier: Apache-2.0 */
#include "binary/debugfile.h"

#include <errno.h>
#include <lzma.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/cleanup.h"
#include "base/regular.h"

#define DEBUGFILE_DIR "/usr/lib/debug"

static void lzma_endp(lzma_stream *lz)
{
	lzma_end(lz);
}

static int debugfile_unpack(struct sv packed, struct sbuf *out)
{
	__cleanup(lzma_endp) lzma_stream lz = LZMA_STREAM_INIT;
	if (lzma_stream_decoder(&lz, DEBUGFILE_LZMA_MAX, 0) != LZMA_OK)
		return -ENOMEM;
	lz.next_in = (const uint8_t *)packed.data;
	lz.avail_in = packed.len;
	for (;;) {
		size_t room = out->len < (64 << 10) ? 64 << 10 : out->len;
		if (out->len + room > DEBUGFILE_UNPACKED_MAX)
			return -E2BIG;
		lz.next_out = (uint8_t *)sbuf_reserve(out, room);
		lz.avail_out = room;
		if (!lz.next_out)
			return -ENOMEM;
		lzma_ret r = lzma_code(&lz, LZMA_FINISH);
		out->len += room - lz.avail_out;
		if (r == LZMA_STREAM_END)
			return 0;
		if (r == LZMA_MEM_ERROR || r == LZMA_MEMLIMIT_ERROR)
			return -ENOMEM;
		if (r != LZMA_OK)
			return -EBADMSG;
	}
}

int debugfile_open_mini(struct elf **ret, struct elf *elf, struct sbuf *err)
{
	const struct elf_section *section = elf_section(elf, ".gnu_debugdata");
	if (!section || section->type == SHT_NOBITS)
		return -ENOENT;
	__cleanup(freep) void *owned = NULL;
	struct sv packed = elf_bytes_owned(elf, section->offset, section->size, &owned);
	if (!packed.data)
		return -ENOENT;
	__cleanup(sbuf_release) struct sbuf unpacked = {0};
	int r = debugfile_unpack(packed, &unpacked);
	if (r < 0) {
		if (err)
			sbuf_addf(err, ".gnu_debugdata cannot be unpacked: %s", strerror(-r));
		return r;
	}
	size_t len = unpacked.len;
	char *data = sbuf_detach(&unpacked);
	r = data ? elf_open_memory(ret, data, len, err) : -ENOMEM;
	if (r < 0)
		free(data);
	else
		(*ret)->owned = data;
	return r;
}

static bool debugfile_crc(int fd, uint32_t want)
{
	struct stat st;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size > DEBUGFILE_CRC_MAX)
		return false;
	char buf[64 << 10];
	uLong crc = crc32(0, NULL, 0);
	for (off_t at = 0;;) {
		ssize_t n = pread(fd, buf, sizeof(buf), at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n == 0 && crc == want;
		crc = crc32(crc, (const Bytef *)buf, (uInt)n);
		at += n;
		if ((uint64_t)at > DEBUGFILE_CRC_MAX)
			return false;
	}
}

/* `crc` NULL: only the build id vouches for it. */
static int debugfile_try(struct elf **ret, struct elf *elf, int root_fd, const char *path, const uint32_t *crc)
{
	__cleanup(closep) int fd = -1;
	__cleanup(elf_closep) struct elf *found = NULL;
	if (regular_open_in_root(root_fd, path, &fd) < 0 || elf_open(&found, fd, NULL) < 0)
		return -ENOENT;
	bool same_id = elf->build_id[0] && strcmp(elf->build_id, found->build_id) == 0;
	bool other_id = elf->build_id[0] && found->build_id[0] && !same_id;
	if (found->machine != elf->machine || other_id || (!same_id && !(crc && debugfile_crc(fd, *crc))))
		return -ENOENT;
	*ret = move_ptr(found);
	return 0;
}

/* A file name, padded with zeroes to four bytes, then the CRC-32 of the whole debug file. */
static struct sv debugfile_link(struct elf *elf, uint32_t *ret_crc)
{
	struct sv section = elf_section_bytes(elf, elf_section(elf, ".gnu_debuglink"));
	struct sv name = elf_string(section, 0, 255);
	size_t at = (name.len + 4) & ~(size_t)3;
	if (!name.len || memchr(name.data, '/', name.len) || section.len < at + sizeof(*ret_crc))
		return SV_NULL;
	memcpy(ret_crc, section.data + at, sizeof(*ret_crc));
	return name;
}

int debugfile_open_separate(struct elf **ret, struct elf *elf, int root_fd, struct sv path)
{
	__cleanup(sbuf_release) struct sbuf at = {0};
	if (strlen(elf->build_id) > 2) {
		sbuf_addf(&at, DEBUGFILE_DIR "/.build-id/%.2s/%s.debug", elf->build_id, elf->build_id + 2);
		if (!at.failed && debugfile_try(ret, elf, root_fd, at.data, NULL) == 0)
			return 0;
	}
	uint32_t crc;
	struct sv link = debugfile_link(elf, &crc);
	const char *slash = path.len ? memrchr(path.data, '/', path.len) : NULL;
	if (!link.data || !slash)
		return -ENOENT;
	struct sv dir = {path.data, (size_t)(slash - path.data)};
	static const struct {
		const char *before, *after;
	} places[] = {{"", "/"}, {"", "/.debug/"}, {DEBUGFILE_DIR, "/"}};
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		sbuf_reset(&at);
		sbuf_addf(&at, "%s" SV_FMT "%s" SV_FMT, places[i].before, SV_ARG(dir), places[i].after, SV_ARG(link));
		if (!at.failed && debugfile_try(ret, elf, root_fd, at.data, &crc) == 0)
			return 0;
	}
	return -ENOENT;
}
