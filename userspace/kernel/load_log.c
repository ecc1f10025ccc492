/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/load_log.h"

#define VERDICT_LINES 3 /* the last is what is wrong; those before it say where */
#define LINE_MAX_SZ   120

/* tools/lib/bpf/libbpf.c, bpf_object_load_prog() */
#define REFUSED	  "': BPF program load failed: "
#define LOG_BEGIN "-- BEGIN PROG LOAD LOG --"
#define LOG_END	  "-- END PROG LOAD LOG --"

static struct sv from_text(struct sv s, const char *text)
{
	const char *at = s.len ? memmem(s.data, s.len, text, strlen(text)) : NULL;
	return at ? (struct sv){at, s.len - (size_t)(at - s.data)} : SV_NULL;
}

/* The next line, without its end. */
static bool next_line(struct sv *rest, struct sv *ret)
{
	if (!rest->len)
		return false;
	const char *end = memchr(rest->data, '\n', rest->len);
	size_t len = end ? (size_t)(end - rest->data) : rest->len;
	*ret = (struct sv){rest->data, len};
	len += end != NULL;
	*rest = (struct sv){rest->data + len, rest->len - len};
	return true;
}

/* Without the registers' state behind an instruction, with one blank for several. */
static void add_line(struct sbuf *out, struct sv line)
{
	const char *state = memmem(line.data, line.len, " ; ", 3);
	size_t len = state ? (size_t)(state - line.data) : line.len, begin = out->len;
	for (size_t i = 0; i < len && out->len - begin < LINE_MAX_SZ; i++) {
		char c = (unsigned char)line.data[i] < ' ' ? ' ' : line.data[i];
		if (c != ' ' || (out->len > begin && out->data[out->len - 1] != ' '))
			sbuf_addc(out, c);
	}
	if (out->len > begin && out->data[out->len - 1] == ' ')
		out->data[--out->len] = '\0';
}

/* Neither the state of the registers, nor the statistics at the end. */
static bool says_something(struct sv line)
{
	return line.len && line.data[0] != ';' && !sv_starts(line, SV("processed ")) &&
	       !sv_starts(line, SV("verification time ")) && !sv_starts(line, SV("stack depth "));
}

static void add_verdict(struct sv log, struct sbuf *out)
{
	struct sv end = from_text(log, LOG_END), line, last[VERDICT_LINES];
	size_t cnt = 0;
	if (end.data)
		log.len = (size_t)(end.data - log.data);
	next_line(&log, &line); /* which begins the log */
	while (next_line(&log, &line))
		if (says_something(line))
			last[cnt++ % VERDICT_LINES] = line;
	size_t shown = cnt < VERDICT_LINES ? cnt : VERDICT_LINES;
	for (size_t i = cnt - shown; i < cnt; i++) {
		sbuf_adds(out, i == cnt - shown ? ": " : "; ");
		add_line(out, last[i % VERDICT_LINES]);
	}
}

void load_log_explain(struct sv log, struct sbuf *out)
{
	struct sv refused = from_text(log, REFUSED), line;
	if (!refused.data) {
		/* libbpf's own prefix says nothing to whoever reads this. */
		while (next_line(&log, &line))
			if (line.len && memmem(line.data, line.len, "ailed", 5)) {
				static const struct sv prefix = {"libbpf: ", 8};
				size_t skip = sv_starts(line, prefix) ? prefix.len : 0;
				add_line(out, (struct sv){line.data + skip, line.len - skip});
				return;
			}
		return;
	}
	const char *name = memrchr(log.data, '\'', (size_t)(refused.data - log.data));
	name = name ? name + 1 : log.data;
	sbuf_adds(out, "program ");
	add_line(out, (struct sv){name, (size_t)(refused.data - name)});
	struct sv verdict = from_text(refused, LOG_BEGIN);
	if (verdict.data) {
		add_verdict(verdict, out);
	} else {
		size_t skip = sizeof(REFUSED) - 1;
		next_line(&refused, &line);
		sbuf_adds(out, ": ");
		add_line(out, (struct sv){line.data + skip, line.len - skip});
	}
}
