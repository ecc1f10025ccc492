/* SPDX-License-Identifier: Apache-2.0 */
/* What the file of a runtime says of its version. */
#include <stdint.h>
#include <stdio.h>

#include "binary/elf.h"
#include "target/language.h"
#include "target/text.h"

#define SCAN_CHUNK   (1 << 20)
#define SCAN_OVERLAP 512

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Up to the first byte that no version has; nothing unless it starts with a digit. */
static struct sv version_at(struct sv text, const char *also)
{
	size_t n = 0;
	while (n < text.len && n < 40 &&
	       (is_digit(text.data[n]) || (text.data[n] >= 'a' && text.data[n] <= 'z') ||
		(text.data[n] && strchr(also, text.data[n]))))
		n++;
	return n && is_digit(text.data[0]) ? (struct sv){text.data, n} : SV_NULL;
}

static void set(char *out, size_t sz, struct sv value)
{
	size_t n = value.len < sz ? value.len : sz - 1;
	if (n)
		memcpy(out, value.data, n);
	out[n] = '\0';
}

/* "20.11.1" at the front of the text, whatever follows. */
static struct sv three_numbers_at(struct sv text)
{
	size_t n = 0;
	for (int part = 0; part < 3; part++) {
		size_t from = n += part > 0;
		while (n < text.len && n - from < 6 && is_digit(text.data[n]))
			n++;
		if (n == from || (part < 2 && (n >= text.len || text.data[n] != '.')))
			return SV_NULL;
	}
	return (struct sv){text.data, n};
}

/* --- constants of a file ------------------------------------------------------------------------------------------ */

/* Is there a version at `at`, where the needle was found in `text`? Into `ret` then. */
typedef bool (*accept_fn)(struct sv text, size_t at, struct language *ret);

struct search {
	struct sv needle;
	accept_fn accept;
};

static bool search_chunk(struct sv chunk, const struct search *s, struct language *ret)
{
	for (size_t from = 0; from < chunk.len;) {
		const char *hit = memmem(chunk.data + from, chunk.len - from, s->needle.data, s->needle.len);
		if (!hit)
			return false;
		size_t at = (size_t)(hit - chunk.data);
		if (s->accept(chunk, at, ret))
			return true;
		from = at + 1;
	}
	return false;
}

/* The first of the searches that finds something, chunk by chunk through .rodata. */
static bool scan_constants(struct elf *elf, const struct search *searches, size_t cnt, struct language *ret)
{
	const struct elf_section *rodata = elf_section(elf, ".rodata");
	if (!rodata || rodata->type == SHT_NOBITS)
		return false;
	uint64_t end = rodata->size < LANGUAGE_MAX_SCAN ? rodata->size : LANGUAGE_MAX_SCAN;
	for (uint64_t at = 0; at < end; at += SCAN_CHUNK) {
		uint64_t len = end - at < SCAN_CHUNK + SCAN_OVERLAP ? end - at : SCAN_CHUNK + SCAN_OVERLAP;
		void *owned = NULL;
		struct sv chunk = elf_bytes_owned(elf, rodata->offset + at, len, &owned);
		bool found = false;
		for (size_t i = 0; chunk.data && !found && i < cnt; i++)
			found = search_chunk(chunk, &searches[i], ret);
		free(owned);
		if (found || !chunk.data)
			return found;
	}
	return false;
}

static struct sv behind(struct sv text, size_t at)
{
	return at < text.len ? (struct sv){text.data + at, text.len - at} : SV_NULL;
}

/* The content of a data symbol: `len` bytes, or SV_NULL. */
static struct sv symbol_bytes(struct elf *elf, struct sv name, uint64_t len)
{
	struct elf_symbols symbols;
	struct sv bytes = SV_NULL;
	if (!elf_symbols(elf, SHT_DYNSYM, &symbols))
		return SV_NULL;
	for (size_t i = 0; i < symbols.cnt && !bytes.data; i++) {
		Elf64_Sym sym = elf_symbols_at(&symbols, i);
		if (sym.st_shndx && sym.st_size >= len && ELF64_ST_TYPE(sym.st_info) == STT_OBJECT &&
		    sv_eq(elf_string(symbols.strings, sym.st_name, name.len + 1), name))
			bytes = elf_memory(elf, sym.st_value, len);
	}
	elf_symbols_release(&symbols);
	return bytes;
}

/* --- each runtime ------------------------------------------------------------------------------------------------- */

/* The text of a line that begins with `key`, among those of a Go program's module information. */
static struct sv go_line(struct sv lines, struct sv key)
{
	while (lines.len) {
		struct sv line = text_line(&lines);
		if (sv_starts(line, key))
			return behind(line, key.len);
	}
	return SV_NULL;
}

/* Behind the version, as a varint's length and text: 16 bytes, lines of words between tabs, 16 bytes. */
static void go_module(struct sv info, struct language *ret)
{
	uint64_t len = 0;
	size_t at = 0;
	for (unsigned shift = 0; at < info.len && shift < 28; shift += 7) {
		len |= (uint64_t)(info.data[at] & 0x7f) << shift;
		if (!(info.data[at++] & 0x80))
			break;
	}
	if (len < 32 || len > info.len - at)
		return;
	struct sv lines = {info.data + at + 16, len - 32};
	struct sv package = go_line(lines, SV("path\t")), commit = go_line(lines, SV("build\tvcs.revision="));
	if (package.len < sizeof(ret->package))
		set(ret->package, sizeof(ret->package), package);
	if (sv_eq(go_line(lines, SV("build\tvcs=")), SV("git")) && commit.len < sizeof(ret->commit))
		set(ret->commit, sizeof(ret->commit), commit);
}

/* Go, debug/buildinfo: "\xff Go buildinf:", pointer size, flags; since 1.18 (flag 2) at offset 32 the version's length
 * as a varint, and the version. Before, a pointer to a string header, which needs no relocation in position-dependent
 * programs only. */
static void go_version(struct elf *elf, struct language *ret)
{
	struct sv info = elf_section_bytes(elf, elf_section(elf, ".go.buildinfo"));
	struct sv version = SV_NULL;
	snprintf(ret->interpreter, sizeof(ret->interpreter), "gc-%s-linux",
		 elf->machine == EM_AARCH64 ? "arm64" : "amd64");
	if (info.len < 32 || memcmp(info.data, "\xff Go buildinf:", 14) != 0)
		return;
	if (info.data[15] & 2) {
		uint64_t len = info.len > 32 ? (unsigned char)info.data[32] : 0;
		if (len < 128 && len <= info.len - 33)
			version = (struct sv){info.data + 33, len};
		if (version.data)
			go_module(behind(info, 33 + len), ret);
	} else if (info.data[14] == 8) {
		uint64_t at[2];
		memcpy(at, info.data + 16, 8);
		struct sv header = elf_memory(elf, at[0], sizeof(at));
		if (header.data)
			memcpy(at, header.data, sizeof(at));
		if (header.data && at[1] < 128)
			version = elf_memory(elf, at[0], at[1]);
	}
	/* "go1.22.3", "go1.22.3 X:boringcrypto", "devel go1.23-0123456 Mon ..." */
	if (sv_starts(version, SV("devel ")))
		version = behind(version, 6);
	if (sv_starts(version, SV("go")))
		set(ret->version, sizeof(ret->version), version_at(behind(version, 2), ".-+"));
}

/* "rustc version 1.75.0 (82e1608df 2023-12-21)" in .comment. */
static void rust_version(struct elf *elf, struct language *ret)
{
	struct sv comment = elf_section_bytes(elf, elf_section(elf, ".comment"));
	const char *at = comment.data ? memmem(comment.data, comment.len, "rustc version ", 14) : NULL;
	if (at)
		set(ret->version, sizeof(ret->version),
		    version_at(behind(comment, (size_t)(at + 14 - comment.data)), ".-"));
}

/* "3.11" of libpython3.11.so.1.0, libpython3.7m.so, python3.11. */
static struct sv python_of_name(struct sv path)
{
	struct sv name = text_basename(path);
	for (size_t i = 0; i < name.len; i++) {
		struct sv v = is_digit(name.data[i]) ? version_at(behind(name, i), ".") : SV_NULL;
		size_t n = 0, dots = 0;
		while (n < v.len && (is_digit(v.data[n]) || (v.data[n] == '.' && !dots++)))
			n++;
		if (v.len)
			return n > 2 && is_digit(v.data[n - 1]) ? (struct sv){v.data, n} : SV_NULL;
	}
	return SV_NULL;
}

/* PY_VERSION of patchlevel.h stands alone; ret->version holds "3.10" meanwhile. */
static bool accept_python(struct sv text, size_t at, struct language *ret)
{
	struct sv v = version_at(behind(text, at + 1), ".+");
	struct sv minor = sv_of(ret->version);
	if (v.len <= minor.len + 1 || !sv_starts(v, minor) || v.data[minor.len] != '.' ||
	    !is_digit(v.data[minor.len + 1]) || at + 1 + v.len >= text.len || text.data[at + 1 + v.len])
		return false;
	set(ret->version, sizeof(ret->version), v);
	return true;
}

static void python_version(struct elf *elf, struct sv path, struct language *ret)
{
	/* Since 3.11, PY_VERSION_HEX: major, minor, micro, level (a, b, c, f) and serial. */
	struct sv hex = symbol_bytes(elf, SV("Py_Version"), 8);
	snprintf(ret->interpreter, sizeof(ret->interpreter), "CPython");
	if (hex.data) {
		uint64_t v;
		memcpy(&v, hex.data, sizeof(v));
		unsigned int level = v >> 4 & 15, serial = v & 15;
		int n = snprintf(ret->version, sizeof(ret->version), "%u.%u.%u", (unsigned int)(v >> 24 & 255),
				 (unsigned int)(v >> 16 & 255), (unsigned int)(v >> 8 & 255));
		if (level == 0xa || level == 0xb || level == 0xc)
			snprintf(ret->version + n, sizeof(ret->version) - (size_t)n, "%s%u",
				 level == 0xa	? "a"
				 : level == 0xb ? "b"
						: "rc",
				 serial);
		return;
	}
	set(ret->version, sizeof(ret->version), python_of_name(path));
	char needle[8] = {0};
	memcpy(needle + 1, ret->version, strnlen(ret->version, sizeof(needle) - 2));
	const struct search s = {{needle, 1 + strlen(needle + 1)}, accept_python};
	if (ret->version[0])
		scan_constants(elf, &s, 1, ret);
}

/* "https://nodejs.org/download/release/v20.11.1/node-v20.11.1-headers.tar.gz" */
static bool accept_node_url(struct sv text, size_t at, struct language *ret)
{
	struct sv v = three_numbers_at(behind(text, at + 7));
	if (!v.len)
		return false;
	snprintf(ret->version, sizeof(ret->version), "v" SV_FMT, SV_ARG(v));
	return true;
}

/* NODE_VERSION by itself, for builds without a place to download from. */
static bool accept_node_version(struct sv text, size_t at, struct language *ret)
{
	struct sv v = three_numbers_at(behind(text, at + 2));
	if (!v.len || at + 2 + v.len >= text.len || text.data[at + 2 + v.len])
		return false;
	snprintf(ret->version, sizeof(ret->version), "v" SV_FMT, SV_ARG(v));
	return true;
}

static void node_version(struct elf *elf, struct language *ret)
{
	static const struct search searches[] = {
		{{"/node-v", 7}, accept_node_url},
		{{"\0v", 2}, accept_node_version},
	};
	snprintf(ret->interpreter, sizeof(ret->interpreter), "v8");
	scan_constants(elf, searches, 2, ret);
}

/* "OpenJDK 64-Bit Server VM (17.0.15+6-Debian) for linux-amd64 JRE (17.0.15+6-Debian), built on ...": what
 * java -Xinternalversion prints. Java 8 has its own number in the first brackets: the second count. */
static bool accept_jvm(struct sv text, size_t at, struct language *ret)
{
	size_t from = at;
	while (from && text.data[from - 1] && at - from < 200)
		from--;
	struct sv title = {text.data + from, at - from};
	const char *vm = title.len ? memmem(title.data, title.len, " VM (", 5) : NULL;
	struct sv v = version_at(behind(text, at + 6), "._");
	if (!vm || !v.len)
		return false;
	set(ret->version, sizeof(ret->version), v);
	set(ret->interpreter, sizeof(ret->interpreter), (struct sv){title.data, (size_t)(vm + 3 - title.data)});
	return true;
}

static bool accept_php(struct sv text, size_t at, struct language *ret)
{
	struct sv v = version_at(behind(text, at + 18), ".-");
	set(ret->version, sizeof(ret->version), v);
	return v.len > 0;
}

static void ruby_version(struct elf *elf, struct language *ret)
{
	/* const char ruby_version[] = "3.1.2" */
	struct sv text = symbol_bytes(elf, SV("ruby_version"), 5);
	set(ret->version, sizeof(ret->version), version_at(text, "."));
}

/* /usr/share/dotnet/shared/Microsoft.NETCore.App/8.0.1/libcoreclr.so */
static void dotnet_version(struct sv path, struct language *ret)
{
	static const char dir[] = "/Microsoft.NETCore.App/";
	const char *at = path.len ? memmem(path.data, path.len, dir, sizeof(dir) - 1) : NULL;
	if (at)
		set(ret->version, sizeof(ret->version),
		    version_at(behind(path, (size_t)(at - path.data) + sizeof(dir) - 1), ".-"));
}

static void program(struct elf *elf, struct language *ret)
{
	switch (elf_language(elf)) {
	case ELF_LANGUAGE_GO:
		ret->runtime = RUNTIME_GO;
		go_version(elf, ret);
		break;
	case ELF_LANGUAGE_RUST:
		ret->runtime = RUNTIME_RUST;
		rust_version(elf, ret);
		break;
	case ELF_LANGUAGE_CXX:
		ret->runtime = RUNTIME_CXX;
		break;
	case ELF_LANGUAGE_C:
		ret->runtime = RUNTIME_C;
		break;
	}
}

void language_of_file(struct elf *elf, struct sv path, struct language *ret)
{
	static const struct search jvm = {{" JRE (", 6}, accept_jvm};
	static const struct search php = {{"X-Powered-By: PHP/", 18}, accept_php};
	switch (ret->runtime) {
	case RUNTIME_UNKNOWN:
		program(elf, ret);
		break;
	case RUNTIME_CPYTHON:
		python_version(elf, path, ret);
		break;
	case RUNTIME_PYPY:
		snprintf(ret->interpreter, sizeof(ret->interpreter), "PyPy");
		break;
	case RUNTIME_NODE:
		node_version(elf, ret);
		break;
	case RUNTIME_JVM:
		scan_constants(elf, &jvm, 1, ret);
		break;
	case RUNTIME_RUBY:
		ruby_version(elf, ret);
		break;
	case RUNTIME_PHP:
		scan_constants(elf, &php, 1, ret);
		break;
	case RUNTIME_DOTNET:
		dotnet_version(path, ret);
		break;
	default:
		break;
	}
}
