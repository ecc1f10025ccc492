/* SPDX-License-Identifier: Apache-2.0 */
#include "binary/demangle.h"

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

static int demangle_into(const char *name, struct demangle_output *o)
{
	if (setjmp(o->give_up))
		return 0;
	/* A legacy Rust name is a valid C++ name too, so Rust is asked first; it refuses what has no hash. */
	if (rust_demangle_callback(name, DMGL_PARAMS | DMGL_ANSI, demangle_write, o))
		return 1;
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
