/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BINARY_SYMBOLS_H
#define BINARY_SYMBOLS_H

#include "base/arena.h"
#include "binary/debugfile.h"
#include "binary/elf.h"
#include "binary/name.h"

/* The functions of one ELF file: one `struct symbol` for each address, whatever number of names it has, merged from
 * .symtab, .dynsym, and where .symtab was stripped, from a separate debug file or .gnu_debugdata.
 * Names are demangled when asked for, never on loading. */

#define SYMTAB_ENTRY_MAX (4U << 20) /* names kept; Chromium has about 1.5 million */
#define SYMTAB_NAME_MAX	 4096	    /* longer names are left out; boost's reach 2,000 bytes */

enum symbol_flags {
	/* NAME_COLD, NAME_PART, NAME_CONSTPROP, NAME_ISRA, NAME_CLONE of name.h, of the preferred name, keep their bits
	 */
	SYMBOL_IFUNC = 1 << 8,	      /* the code here only chooses the function, once, at load time */
	SYMBOL_SIZE_GUESSED = 1 << 9, /* the table gave none: reaches to the next function or the section's end */
	SYMBOL_NOTYPE = 1 << 10,      /* an assembler label without .type; may be no function */
	SYMBOL_LOCAL = 1 << 11,	      /* no name of it is global: `static`, or hidden by the linker */
	SYMBOL_EXPORTED = 1 << 12,    /* in .dynsym: other modules can call it */
	SYMBOL_OLD_VERSION = 1 << 13, /* kept for programs linked long ago; f@V1 where f@@V2 is the default */
	SYMBOL_OVERLAPPED = 1 << 14,  /* its size reaches over the start of the next one */
};

/* 64 bytes: a browser has a million of them. */
struct symbol {
	uint64_t addr;	 /* ELF virtual address */
	uint64_t offset; /* in the file: what uprobes want */
	uint64_t size;
	struct sv name; /* raw, without version: global before local, plain before __internal; see symtab_name() for all
			 */
	uint32_t flags;
	uint32_t base_len;   /* of symbol_base() */
	uint32_t first_name; /* private */
	uint32_t name_cnt;
	const char *demangled; /* private: NULL until asked for */
};

enum symtab_source {
	SYMTAB_FROM_SYMTAB = 1 << 0,
	SYMTAB_FROM_DYNSYM = 1 << 1,
	SYMTAB_FROM_DEBUG_FILE = 1 << 2,
	SYMTAB_FROM_MINIDEBUG = 1 << 3,
};

struct symtab_name {
	const char
		*data; /* into the string tables of `elf` or `debug`; not NUL-terminated where a version was cut off */
	uint32_t len;
	uint32_t symbol;
};

struct symtab {
	struct symbol *symbols; /* by address */
	size_t cnt;
	uint32_t sources; /* enum symtab_source */
	/* Function symbols that were not taken, by reason. */
	struct {
		uint64_t outside;  /* not in a code section, or no byte of the file */
		uint64_t plt;	   /* a stub of the linker's */
		uint64_t bad_name; /* none, or longer than SYMTAB_NAME_MAX */
		uint64_t limit;	   /* SYMTAB_ENTRY_MAX */
	} skipped;
	/* private */
	struct elf *elf;
	struct elf *debug, *mini;
	struct symtab_name *names; /* those of one symbol lie together, the preferred first */
	size_t name_cnt;
	uint32_t *index; /* hash of base name -> number of name + 1; made by the first lookup */
	size_t index_cnt;
	bool has_mangled;
	struct arena texts;
};

struct symtab_options {
	int root_fd;	/* the target's root directory, for separate debug files; -1: do not look for any */
	struct sv path; /* of the file below that root; may be SV_NULL (then no .gnu_debuglink) */
};

/* Borrows `elf`, which must live longer. `opts` may be NULL (no separate files). A file without symbols is no error:
 * the table is empty and `sources` 0. What is wrong with a source is appended to `err` (may be NULL) and the source
 * left out; the only failure is -ENOMEM. */
int symtab_open(struct symtab **ret, struct elf *elf, const struct symtab_options *opts, struct sbuf *err);
/* NULL is fine. Every slice it gave is invalid from now on. */
void symtab_close(struct symtab *tab);

/* The name without clone suffix: what the function is called in the source, mangled. */
static inline struct sv symbol_base(const struct symbol *s)
{
	return (struct sv){s->name.data, s->base_len};
}
/* All names of a symbol: i in [0, name_cnt). 0 is the preferred one. */
static inline struct sv symtab_name(const struct symtab *tab, const struct symbol *s, size_t i)
{
	const struct symtab_name *n = &tab->names[s->first_name + i];
	return (struct sv){n->data, n->len};
}
/* The base name for people: demangled with parameter list, or as it is. Kept by the table. */
struct sv symtab_display(struct symtab *tab, const struct symbol *s);
/* Why no probe belongs here, as the end of a sentence, or NULL. Only what symbols can tell. */
const char *symbol_why_not(const struct symbol *s);

/* For vec_push() and vec_release(). */
struct symbol_vec {
	const struct symbol **data;
	size_t cnt;
	size_t cap;
};
/* Appends the symbols a person means, each once, in address order, and returns their number or -ENOMEM.
 * 1. Raw names and raw base names equal to `pattern`; 2. else demangled names equal to it, written in full
 * ("a::f<int>(int) const"), without qualifiers, without parameters ("a::f<int>") or without template arguments
 * ("a::f");
 * 3. else, where it has * ? [ or \, those it matches as a glob in any of these ways; one without "(" is not held
 * against parameters, one without "<" not against template arguments. Two static functions may share a name: both are
 * found. Cold pieces are found by their full raw name only. */
int symtab_find(struct symtab *tab, struct sv pattern, struct symbol_vec *out);
/* The symbol whose [addr, addr + size) holds an address, or NULL. */
const struct symbol *symtab_at(const struct symtab *tab, uint64_t vaddr);
/* Up to `n` names most like `wrong`, best first, for "did you mean": raw names, or demangled without parameters
 * (qualified when `wrong` is). Returns their number. The texts are the table's. */
size_t symtab_suggest(struct symtab *tab, struct sv wrong, struct sv *out, size_t n);

static inline void symtab_closep(struct symtab **tab)
{
	symtab_close(*tab);
	*tab = NULL;
}

#endif
