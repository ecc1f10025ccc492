/* SPDX-License-Identifier: Apache-2.0 */
#include "probe/list_yaml.h"

#include <libfyaml.h>

#include "base/cleanup.h"
#include "base/utf8.h"

struct yaml_builder {
	const struct yaml_source *src;
	struct arena *arena;
	struct yaml_node *root;
	struct {
		struct yaml_node *node;
		struct yaml_node *last;
		struct yaml_node *key; /* seen, its value not yet */
	} open[YAML_MAX_DEPTH];
	unsigned depth;
	unsigned node_cnt;
	unsigned document_cnt;
	struct fy_mark end; /* of the last token */
};

static struct source_pos pos_of_mark(const struct fy_mark *mark)
{
	return mark ? SOURCE_POS((uint32_t)mark->line + 1, (uint32_t)mark->column + 1) : (struct source_pos){0};
}

static struct source_pos pos_of_token(struct fy_token *token)
{
	return pos_of_mark(token ? fy_token_start_mark(token) : NULL);
}

static struct sv text_of_token(struct fy_token *token)
{
	struct sv text = {0};
	if (token)
		text.data = fy_token_get_text(token, &text.len);
	return text;
}

/* Tags and anchors are mostly globs and conditions that lack quotes: the messages say so. */
static void report_decoration(struct yaml_builder *b, struct yaml_node *node, struct fy_token *anchor,
			      struct fy_token *tag)
{
	struct source_pos pos = pos_of_token(tag ? tag : anchor);
	if (tag) {
		const struct fy_mark *from = fy_token_start_mark(tag), *to = fy_token_end_mark(tag);
		struct sv raw = {b->src->text.data + from->input_pos, to->input_pos - from->input_pos};
		diagnostics_error(b->src->d, pos,
				  "'" SV_FMT "' is a YAML tag here; text that starts with '!' needs quotes",
				  SV_ARG(raw));
	} else {
		pos.column -= pos.column > 1; /* the token starts behind its '&' */
		diagnostics_error(
			b->src->d, pos,
			"anchors are not accepted: write the value out (text that starts with '&' needs quotes)");
	}
	node->kind = YAML_BAD;
}

static void fill_scalar(struct yaml_builder *b, struct yaml_node *node, struct fy_token *token)
{
	struct sv text = text_of_token(token);
	const struct fy_mark *from = token ? fy_token_start_mark(token) : NULL;
	const struct fy_mark *to = token ? fy_token_end_mark(token) : NULL;
	enum fy_scalar_style style = token ? fy_token_scalar_style(token) : FYSS_PLAIN;
	node->quoted = style != FYSS_PLAIN;
	if (!from || !to || (!text.len && !node->quoted))
		return;
	if (!node->quoted && (sv_eq(text, SV("null")) || sv_eq(text, SV("~"))))
		return;
	node->kind = YAML_SCALAR;
	node->text = arena_dup(b->arena, text);
	node->raw = from->input_pos;
	node->raw_end = to->input_pos;
	node->raw_pos = node->pos = pos_of_mark(from);
	if (style == FYSS_SINGLE_QUOTED || style == FYSS_DOUBLE_QUOTED)
		node->pos.column -= node->pos.column > 1;
	else if (style != FYSS_PLAIN)
		node->pos = yaml_pos_at(b->src, node, 0);
}

static int add_node(struct yaml_builder *b, struct yaml_node *node)
{
	if (!b->depth) {
		b->root = node;
		return 0;
	}
	struct yaml_node *parent = b->open[b->depth - 1].node;
	struct yaml_node **key = &b->open[b->depth - 1].key, **last = &b->open[b->depth - 1].last;
	if (parent->kind == YAML_MAPPING && !*key) {
		if (node->kind != YAML_SCALAR && node->kind != YAML_BAD) {
			yaml_error(b->src, node, "expected a key, found %s",
				   node->kind == YAML_NULL ? "nothing" : "a list or a map");
			node->kind = YAML_BAD;
		}
		*key = node;
		return 0;
	}
	node->key = *key;
	*key = NULL;
	if (*last)
		(*last)->next = node;
	else
		parent->first = node;
	*last = node;
	parent->cnt++;
	return 0;
}

static struct yaml_node *new_node(struct yaml_builder *b, struct fy_event *event)
{
	struct yaml_node *node = arena_alloc(b->arena, sizeof(*node));
	if (!node)
		return NULL;
	node->pos = pos_of_mark(fy_event_start_mark(event));
	if (!node->pos.line && b->depth) {
		struct yaml_node *key = b->open[b->depth - 1].key;
		node->pos = key ? key->pos : b->open[b->depth - 1].node->pos;
	}
	return node;
}

/* libfyaml gives nothing its place. A list item of nothing still has its dash, the first thing after the last token. */
static void find_dash(struct yaml_builder *b, struct yaml_node *node)
{
	struct sv text = b->src->text;
	size_t at = b->end.input_pos;
	struct source_pos pos = pos_of_mark(&b->end);
	bool comment = false;
	for (; at < text.len && (comment || text.data[at] != '-'); at++) {
		char c = text.data[at];
		comment = c == '#' || (comment && c != '\n');
		if (!comment && !strchr(" \t\r\n", c))
			return;
		pos.column++;
		if (c == '\n')
			pos = SOURCE_POS(pos.line + 1, 1);
	}
	if (at == text.len)
		return;
	node->pos = pos;
	b->end = (struct fy_mark){at + 1, (int)pos.line - 1, (int)pos.column};
}

static int open_node(struct yaml_builder *b, struct yaml_node *node, enum yaml_kind kind, struct fy_token *anchor,
		     struct fy_token *tag)
{
	node->kind = kind;
	if (b->depth == YAML_MAX_DEPTH) {
		yaml_error(b->src, node, "nested deeper than %d levels", YAML_MAX_DEPTH);
		return -EINVAL;
	}
	add_node(b, node);
	if (anchor || tag)
		report_decoration(b, node, anchor, tag);
	/* Kept as what it is while its children come; a reader that meets BAD looks no further. */
	b->open[b->depth].node = node;
	b->open[b->depth].last = b->open[b->depth].key = NULL;
	b->depth++;
	return 0;
}

static int add_event(struct yaml_builder *b, struct fy_event *event)
{
	if (event->type == FYET_DOCUMENT_START && b->document_cnt++ > 0) {
		struct source_pos pos = pos_of_mark(fy_event_start_mark(event));
		diagnostics_error(b->src->d, pos, "a second YAML document: a probe list is one");
		return -EINVAL;
	}
	if (event->type == FYET_MAPPING_END || event->type == FYET_SEQUENCE_END)
		b->depth--;
	if (event->type != FYET_SCALAR && event->type != FYET_ALIAS && event->type != FYET_MAPPING_START &&
	    event->type != FYET_SEQUENCE_START)
		return 0;
	if (b->node_cnt++ == YAML_MAX_NODES) {
		diagnostics_error(b->src->d, pos_of_mark(fy_event_start_mark(event)), "more than %d values in one file",
				  YAML_MAX_NODES);
		return -EINVAL;
	}
	struct yaml_node *node = new_node(b, event);
	if (!node)
		return -ENOMEM;
	if (event->type == FYET_MAPPING_START)
		return open_node(b, node, YAML_MAPPING, event->mapping_start.anchor, event->mapping_start.tag);
	if (event->type == FYET_SEQUENCE_START)
		return open_node(b, node, YAML_SEQUENCE, event->sequence_start.anchor, event->sequence_start.tag);
	if (event->type == FYET_ALIAS) {
		node->pos = pos_of_token(event->alias.anchor);
		node->pos.column -= node->pos.column > 1; /* the token starts behind its '*' */
		struct sv name = text_of_token(event->alias.anchor);
		yaml_error(b->src, node,
			   "'*" SV_FMT
			   "' is a YAML alias here, and these are not accepted; a glob needs quotes: \"*" SV_FMT "\"",
			   SV_ARG(name), SV_ARG(name));
		node->kind = YAML_BAD;
	} else {
		fill_scalar(b, node, event->scalar.value);
		if (node->kind == YAML_NULL && b->depth && b->open[b->depth - 1].node->kind == YAML_SEQUENCE)
			find_dash(b, node);
		if (node->kind == YAML_SCALAR && !node->text.data)
			return -ENOMEM;
		if (event->scalar.anchor || event->scalar.tag)
			report_decoration(b, node, event->scalar.anchor, event->scalar.tag);
	}
	return add_node(b, node);
}

/* Words for what libfyaml calls by its grammar's names, where a probe list typically runs into it. */
static const char *syntax_hint(const char *message)
{
	if (strstr(message, "alias"))
		return "; a glob needs quotes: \"*\"";
	if (strstr(message, "cannot start with"))
		return "; put the text in quotes";
	if (strstr(message, "nested block mapping") || strstr(message, "invalid mapping in plain"))
		return "; text with \": \" in it needs quotes";
	if (strstr(message, "invalid value after mapping"))
		return "; text that starts with '{' needs quotes";
	if (strstr(message, "anchor"))
		return "; text that starts with '!' or '&' needs quotes";
	if (strstr(message, "tab "))
		return "; indent with spaces";
	return "";
}

static void report_syntax(const struct yaml_builder *b, struct fy_diag *diag, struct sbuf *unplaced)
{
	const struct yaml_source *src = b->src;
	void *iterator = NULL;
	struct fy_diag_error *error = fy_diag_errors_iterate(diag, &iterator);
	if (!error || !error->msg) {
		while (unplaced->len && unplaced->data[unplaced->len - 1] == '\n')
			unplaced->data[--unplaced->len] = '\0';
		struct sv text = sbuf_sv(unplaced);
		if (sv_starts(text, SV("[ERR]: ")))
			text = (struct sv){text.data + 7, text.len - 7};
		diagnostics_error(src->d, SOURCE_POS(1, 1), "not YAML: " SV_FMT,
				  SV_ARG(text.len ? text : SV("the file cannot be read on")));
		return;
	}
	struct source_pos pos = SOURCE_POS((uint32_t)(error->line > 0 ? error->line : 1),
					   (uint32_t)(error->column > 0 ? error->column : 1));
	/* Found missing at the end of the file; to be mended where it was opened. */
	if (b->depth && strstr(error->msg, "without a closing"))
		pos = b->open[b->depth - 1].node->pos;
	diagnostics_error(src->d, pos, "not YAML: %s%s", error->msg, syntax_hint(error->msg));
}

static void keep_output(struct fy_diag *diag, void *user, const char *buf, size_t len)
{
	(void)diag;
	struct sbuf *out = user;
	if (out->len < 200)
		sbuf_add(out, buf, len);
}

int yaml_parse(struct yaml_node **ret, const struct yaml_source *src, struct arena *arena)
{
	struct yaml_builder b = {.src = src, .arena = arena};
	struct sbuf unplaced __cleanup(sbuf_release) = {0};
	struct fy_diag_cfg diag_cfg;
	fy_diag_cfg_default(&diag_cfg);
	diag_cfg.fp = NULL;
	diag_cfg.output_fn = keep_output;
	diag_cfg.user = &unplaced;
	diag_cfg.colorize = false;
	struct fy_diag *diag = fy_diag_create(&diag_cfg);
	if (!diag)
		return -ENOMEM;
	fy_diag_set_collect_errors(diag, true);
	struct fy_parse_cfg cfg = {.flags = FYPCF_COLLECT_DIAG, .diag = diag};
	struct fy_parser *parser = fy_parser_create(&cfg);
	int err = parser && fy_parser_set_string(parser, src->text.data, src->text.len) == 0 ? 0 : -ENOMEM;
	while (!err) {
		struct fy_event *event = fy_parser_parse(parser);
		if (!event)
			break;
		err = add_event(&b, event);
		const struct fy_mark *end = fy_event_end_mark(event);
		if (end && end->input_pos > b.end.input_pos)
			b.end = *end;
		fy_parser_event_free(parser, event);
	}
	if (!err && fy_parser_get_stream_error(parser)) {
		report_syntax(&b, diag, &unplaced);
		err = -EINVAL;
	}
	if (parser)
		fy_parser_destroy(parser);
	fy_diag_destroy(diag);
	*ret = b.root && b.root->kind == YAML_NULL ? NULL : b.root;
	return err;
}

void yaml_set_file(struct yaml_node *node, uint32_t file)
{
	node->pos.file = file;
	for (struct yaml_node *child = node->first; child; child = child->next) {
		if (child->key)
			child->key->pos.file = file;
		yaml_set_file(child, file); /* no deeper than YAML_MAX_DEPTH */
	}
}

static void canonical_text(struct sv text, struct sbuf *out)
{
	sbuf_addf(out, "%zu:", text.len);
	sbuf_addsv(out, text);
}

bool yaml_is_one_of(const struct yaml_node *key, const char *const *names)
{
	for (; key && names && *names; names++)
		if (sv_eq(key->text, sv_of(*names)))
			return true;
	return false;
}

void yaml_canonical(const struct yaml_node *node, const char *const *skip, struct sbuf *out)
{
	static const char kinds[] = {
		[YAML_NULL] = 'n', [YAML_SCALAR] = 's', [YAML_SEQUENCE] = 'l', [YAML_MAPPING] = 'm'};
	if (node->kind == YAML_BAD)
		return;
	sbuf_addc(out, node->kind == YAML_SCALAR && node->quoted ? 'q' : kinds[node->kind]);
	if (node->kind == YAML_SCALAR)
		canonical_text(node->text, out);
	for (const struct yaml_node *child = node->first; child; child = child->next) {
		if (yaml_is_one_of(child->key, skip))
			continue;
		if (child->key)
			canonical_text(child->key->text, out);
		yaml_canonical(child, NULL, out);
	}
	sbuf_addc(out, '.');
}

/* What decodes a scalar keeps no map from its text to the file, so this walks both in step: bytes that are equal on
 * both sides belong together; a backslash stands for one character; white space that has no counterpart was folded
 * away. */
static size_t raw_step(struct sv raw, size_t at, char wanted, bool in_escapes)
{
	char c = raw.data[at];
	if (in_escapes && c == '\\' && at + 1 < raw.len) {
		char kind = raw.data[at + 1];
		size_t len = 2 + (kind == 'x' ? 2 : kind == 'u' ? 4 : kind == 'U' ? 8 : 0);
		return at + len < raw.len ? at + len : raw.len;
	}
	if (c == '\'' && wanted == '\'' && at + 1 < raw.len && raw.data[at + 1] == '\'')
		return at + 2;
	return at + 1;
}

static size_t raw_offset(struct sv raw, struct sv text, size_t at, bool in_escapes)
{
	size_t i = 0;
	for (size_t j = 0; j <= at && i < raw.len; j++) {
		char wanted = j < text.len ? text.data[j] : '\0';
		bool space = wanted == ' ' || wanted == '\n';
		/* Indentation and folded line ends in front of a visible character. */
		while (i < raw.len && !space && (raw.data[i] == ' ' || raw.data[i] == '\n' || raw.data[i] == '\r') &&
		       raw.data[i] != wanted)
			i++;
		if (j == at)
			break;
		bool escape = in_escapes && raw.data[i] == '\\';
		i = raw_step(raw, i, wanted, in_escapes);
		/* An escaped character may be several bytes of the text. */
		while (escape && j + 1 < at && j + 1 < text.len && ((unsigned char)text.data[j + 1] & 0xc0) == 0x80)
			j++;
	}
	return i;
}

struct source_pos yaml_pos_at(const struct yaml_source *src, const struct yaml_node *node, size_t at)
{
	if (!node)
		return SOURCE_POS(1, (uint32_t)at + 1);
	if (node->kind != YAML_SCALAR || node->raw_end > src->text.len || node->raw > node->raw_end)
		return node->pos;
	struct sv raw = {src->text.data + node->raw, node->raw_end - node->raw};
	bool in_escapes = node->raw > 0 && node->quoted && src->text.data[node->raw - 1] == '"';
	size_t offset = raw_offset(raw, node->text, at, in_escapes);
	struct source_pos pos = node->raw_pos;
	for (size_t i = 0; i < offset; i++) {
		if (raw.data[i] == '\n')
			pos = SOURCE_POS(pos.line + 1, 1);
		else if (((unsigned char)raw.data[i] & 0xc0) != 0x80)
			pos.column++;
	}
	return pos;
}

bool yaml_is_good(const struct yaml_node *node)
{
	if (node->kind == YAML_BAD || (node->key && node->key->kind == YAML_BAD))
		return false;
	for (const struct yaml_node *child = node->first; child; child = child->next)
		if (!yaml_is_good(child)) /* no deeper than YAML_MAX_DEPTH */
			return false;
	return true;
}

void yaml_error_at(const struct yaml_source *src, const struct yaml_node *node, size_t at, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	diagnostics_vadd(src->d, SEVERITY_ERROR, yaml_pos_at(src, node, at), fmt, ap);
	va_end(ap);
}

void yaml_error(const struct yaml_source *src, const struct yaml_node *node, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	diagnostics_vadd(src->d, SEVERITY_ERROR, node->pos, fmt, ap);
	va_end(ap);
}

const char *yaml_describe(const struct yaml_node *node, char *buf, size_t sz)
{
	if (node->kind != YAML_SCALAR)
		return node->kind == YAML_SEQUENCE  ? node->cnt ? "a list" : "an empty list"
		       : node->kind == YAML_MAPPING ? node->cnt ? "a map" : "an empty map"
						    : "nothing";
	size_t len = node->text.len, room = sz - sizeof("''...");
	if (len > room) {
		len = room;
		while (len && ((unsigned char)node->text.data[len] & 0xc0) == 0x80)
			len--;
	}
	snprintf(buf, sz, "'%.*s'%s", (int)len, node->text.data, len < node->text.len ? "..." : "");
	for (char *c = buf; *c; c++)
		if ((unsigned char)*c < 0x20)
			*c = ' ';
	return buf;
}
