/* SPDX-License-Identifier: Apache-2.0 */
#include "target/spec.h"

static void describe_strings(struct sbuf *out, const char *kind, const struct sv_vec *values)
{
	for (size_t i = 0; i < values->cnt; i++) {
		if (i)
			sbuf_adds(out, " or ");
		else
			sbuf_addf(out, "%s%s ", out->len ? " and " : "", kind);
		sbuf_addf(out, "'" SV_FMT "'", SV_ARG(values->data[i]));
	}
}

static void describe_numbers(struct sbuf *out, const char *kind, const struct int_vec *values)
{
	for (size_t i = 0; i < values->cnt; i++) {
		if (i)
			sbuf_addf(out, " or %d", values->data[i]);
		else
			sbuf_addf(out, "%s%s %d", out->len ? " and " : "", kind, values->data[i]);
	}
}

void target_spec_describe(const struct target_spec *s, struct sbuf *out)
{
	struct sbuf text = {0};
	describe_strings(&text, "name", &s->names);
	describe_numbers(&text, "pid", &s->pids);
	describe_strings(&text, "exe", &s->exes);
	describe_strings(&text, "cmdline", &s->cmdlines);
	describe_numbers(&text, "port", &s->ports);
	describe_strings(&text, "container", &s->containers);
	if (s->listening)
		sbuf_addf(&text, "%slistening on a TCP port", text.len ? " and " : "");
	describe_strings(&text, "unit", &s->units);
	describe_strings(&text, "language", &s->languages);
	for (size_t i = 0; i < s->labels.cnt; i++)
		sbuf_addf(&text, "%slabel '" SV_FMT "=" SV_FMT "'", text.len ? " and " : "",
			  SV_ARG(s->labels.data[i].key), SV_ARG(s->labels.data[i].value));
	sbuf_adds(out, text.len ? text.data : "nothing");
	out->failed |= text.failed;
	sbuf_release(&text);
}
