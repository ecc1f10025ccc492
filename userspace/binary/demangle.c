/* SPDX-License-Identifier: Apache-2.0 */
#include "binary/demangle.h"

#include <ctype.h>
#include <demangle.h>
#include <setjmp.h>

bool demangle_is_mangled(struct sv name)
{
	return name.len > 2 && name.data[0] == '_' && (name.data[1] == 'Z' || name.data[1] == 'R');
}

struct demangle_output {
	struct sbuf *out;
	size_t start;
	jmp_buf give_up;
};

/* libiberty offers no way to stop it. Its callback interface owns no memory, so leaving by longjmp loses nothing. */
static void demangle_write(const char *data, size_t len, void *ctx)
{
	struct demangle_output *o = ctx;
	if (o->out->failed || len > DEMANGLE_OUT_MAX - (o->out->len - o->start))
		longjmp(o->give_up, 1);
	sbuf_add(o->out, data, len);
}

/* v0 writes a method as <shop::Cart>::total, where legacy mangling, C++ and people write shop::Cart::total. Types that
 * are no path, and <T as Trait>, need their brackets. */
static void demangle_plain_method(struct demangle_output *o)
{
	char *s = o->out->data + o->start;
	size_t len = o->out->len - o->start, end = 1, depth = 1;
	for (; end < len && depth > 0; end++) {
		if (s[end] == '<')
			depth++;
		else if (s[end] == '>' && s[end - 1] != '-')
			depth--;
		else if (depth == 1 && !isalnum((unsigned char)s[end]) && s[end] != '_' && s[end] != ':' &&
			 (unsigned char)s[end] < 0x80)
			return;
	}
	if (len < 3 || s[0] != '<' || depth > 0 || end + 1 >= len || s[end] != ':')
		return;
	memmove(s, s + 1, end - 2);
	memmove(s + end - 2, s + end, len - end);
	o->out->len -= 2;
}

static int demangle_into(const char *name, struct demangle_output *o)
{
	if (setjmp(o->give_up))
		return 0;
	/* A legacy Rust name is a valid C++ name too, so Rust is asked first; it refuses what has no hash. */
	if (rust_demangle_callback(name, DMGL_PARAMS | DMGL_ANSI, demangle_write, o)) {
		demangle_plain_method(o);
		return 1;
	}
	if (name[1] != 'Z')
		return 0;
	o->out->len = o->start;
	return cplus_demangle_v3_callback(name, DMGL_PARAMS | DMGL_ANSI | DMGL_RET_DROP, demangle_write, o);
}

bool demangle(struct sv name, struct sbuf *out)
{
	char copy[DEMANGLE_IN_MAX + 1];
	if (!demangle_is_mangled(name) || name.len > DEMANGLE_IN_MAX)
		return false;
	memcpy(copy, name.data, name.len);
	copy[name.len] = '\0';
	struct demangle_output o = {.out = out, .start = out->len};
	bool done = demangle_into(copy, &o) && !out->failed;
	if (!done)
		out->len = o.start;
	if (out->data)
		out->data[out->len] = '\0';
	return done && out->len > o.start;
}
