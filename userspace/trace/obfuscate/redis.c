/* SPDX-License-Identifier: Apache-2.0 */
/* pkg/obfuscate/redis.go and redis_tokenizer.go, with what is odd about them. */
#include <strings.h>

#include "base/utf8.h"
#include "trace/obfuscate/obfuscate.h"

#define MAX_COMMANDS 3 /* of a resource */

static void cut_back(struct sbuf *b, size_t len)
{
	b->len = len;
	if (b->data)
		b->data[len] = '\0';
}

/* --- the resource ------------------------------------------------------------------------------------------------- */

static bool word_is(struct sv s, const char *const *words)
{
	for (; *words; words++)
		if (s.len == strlen(*words) && strncasecmp(s.data, *words, s.len) == 0)
			return true;
	return false;
}

static void add_upper(struct sbuf *out, struct sv s)
{
	for (size_t i = 0, n; i < s.len; i += n) {
		uint32_t c = utf8_decode((struct sv){s.data + i, s.len - i}, &n);
		if (c < 128)
			sbuf_addc(out, (char)(c >= 'a' && c <= 'z' ? c - 32 : c));
		else
			sbuf_add(out, s.data + i, n);
	}
}

static struct sv trim_spaces(struct sv s)
{
	while (s.len && s.data[0] == ' ')
		s = (struct sv){s.data + 1, s.len - 1};
	while (s.len && s.data[s.len - 1] == ' ')
		s.len--;
	return s;
}

/* Up to the next space; the spaces behind it go too. */
static struct sv next_word(struct sv *line)
{
	const char *space = memchr(line->data, ' ', line->len);
	struct sv word = {line->data, space ? (size_t)(space - line->data) : line->len};
	*line = trim_spaces((struct sv){line->data + word.len, line->len - word.len});
	return word;
}

static bool is_cut(struct sv s)
{
	return s.len >= 3 && memcmp(s.data + s.len - 3, "...", 3) == 0;
}

void obfuscate_redis_resource(struct sbuf *out, struct sv commands)
{
	static const char *const compound[] = {"CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DEBUG", "SCRIPT", NULL};
	size_t before = out->len;
	unsigned cnt = 0;
	bool cut = false;
	while (commands.len && cnt < MAX_COMMANDS) {
		const char *end = memchr(commands.data, '\n', commands.len);
		size_t len = end ? (size_t)(end - commands.data) : commands.len;
		struct sv line = trim_spaces((struct sv){commands.data, len});
		commands = (struct sv){commands.data + len + (end != NULL), commands.len - len - (end != NULL)};
		if (line.len == 0)
			continue;
		struct sv command = next_word(&line), sub = SV_NULL;
		if (line.len && word_is(command, compound))
			sub = next_word(&line);
		cut = is_cut(command) || is_cut(sub);
		if (cut)
			continue;
		if (out->len > before)
			sbuf_addc(out, ' ');
		add_upper(out, command);
		if (sub.len) {
			sbuf_addc(out, ' ');
			add_upper(out, sub);
		}
		cnt++;
	}
	if (cnt == MAX_COMMANDS || cut)
		sbuf_adds(out, out->len > before ? " ..." : "...");
}

/* --- the tokens of a command -------------------------------------------------------------------------------------- */

struct tokens {
	const char *data;
	size_t len;
	ptrdiff_t at; /* of `ch` */
	char ch;
	bool done, argument;
};

static void tokens_next(struct tokens *t)
{
	if (++t->at < (ptrdiff_t)t->len)
		t->ch = t->data[t->at];
	else
		t->done = true;
}

/* To the last of the spaces. */
static void tokens_skip(struct tokens *t)
{
	while (t->ch == ' ' || t->ch == '\t' || (t->ch == '\r' && !t->done)) {
		tokens_next(t);
		if (t->done)
			return;
	}
	if (t->ch == '\n')
		t->argument = false;
	else if (t->at >= 1)
		t->ch = t->data[--t->at];
}

/* A slice of the text; *ret_argument: what it is. False: it is the last one. */
static bool tokens_command(struct tokens *t, struct sv *ret)
{
	size_t from = 0;
	bool started = false;
	for (;;) {
		tokens_next(t);
		if (!started)
			from = (size_t)t->at;
		*ret = (struct sv){t->data + from, (size_t)t->at - from};
		if (t->done) {
			*ret = (struct sv){t->data + (from < t->len ? from : t->len),
					   from < t->len ? t->len - from : 0};
			return false;
		}
		if (t->ch == ' ' && started) {
			t->argument = true;
			tokens_skip(t);
			return !t->done;
		}
		if (t->ch == '\n')
			return true;
		if (t->ch == ' ') {
			tokens_skip(t);
			/* The Agent counts these as a beginning, of nothing. */
			started = true;
			from = (size_t)t->at + 1;
			continue;
		}
		started = true;
	}
}

static bool tokens_argument(struct tokens *t, struct sv *ret)
{
	size_t from = (size_t)(t->at + 1);
	bool quoted = false, escape = false;
	for (;;) {
		tokens_next(t);
		size_t at = t->done ? t->len : (size_t)t->at;
		*ret = (struct sv){t->data + (from < t->len ? from : t->len), at > from ? at - from : 0};
		if (t->done)
			return false;
		if (t->ch == '\\' && !escape) {
			escape = true;
			continue;
		}
		if (t->ch == '\n' && !quoted) {
			t->argument = false;
			return true;
		}
		if (t->ch == ' ' && !quoted) {
			tokens_skip(t);
			return !t->done;
		}
		if (t->ch == '"' && !escape)
			quoted = !quoted;
		escape = false;
	}
}

/* --- which arguments are values ----------------------------------------------------------------------------------- */

enum mask {
	MASK_NONE,
	MASK_ALL,      /* one "?" for all from argument `n` on */
	MASK_ONE,      /* argument `n` */
	MASK_STEP,     /* every `step`th from argument `n` on, the last of each step */
	MASK_CONFIG,   /* argument 2, when argument 0 is SET */
	MASK_BITFIELD, /* the third behind the last SET */
	MASK_ZADD,     /* every second behind the flags */
};

static const struct rule {
	const char *commands; /* between spaces, and spaces around */
	enum mask mask;
	unsigned n, step;
} rules[] = {
	{" AUTH MIGRATE HELLO ", MASK_ALL, 0, 0},
	{" ACL GEOHASH GEOPOS GEODIST LPUSH RPUSH SREM ZREM SADD ", MASK_ALL, 1, 0},
	{" APPEND GETSET LPUSHX GEORADIUSBYMEMBER RPUSHX SET SETNX SISMEMBER ZRANK ZREVRANK ZSCORE ", MASK_ONE, 1, 0},
	{" HSETNX LREM LSET SETBIT SETEX PSETEX SETRANGE ZINCRBY SMOVE RESTORE ", MASK_ONE, 2, 0},
	{" LINSERT ", MASK_ONE, 3, 0},
	{" GEOADD ", MASK_STEP, 1, 3},
	{" HSET HMSET ", MASK_STEP, 1, 2},
	{" MSET MSETNX ", MASK_STEP, 0, 2},
	{" CONFIG ", MASK_CONFIG, 2, 0},
	{" BITFIELD ", MASK_BITFIELD, 0, 0},
	{" ZADD ", MASK_ZADD, 0, 2},
};

static const struct rule *rule_of(struct sv command)
{
	char text[24];
	if (command.len == 0 || command.len > sizeof(text) - 3 || memchr(command.data, ' ', command.len))
		return NULL;
	text[0] = ' ';
	for (size_t i = 0; i < command.len; i++) {
		char c = command.data[i];
		text[i + 1] = (char)(c >= 'a' && c <= 'z' ? c - 32 : c);
	}
	memcpy(text + command.len + 1, " ", 2);
	if (memchr(text, '\0', command.len))
		return NULL;
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
		if (strstr(rules[i].commands, text))
			return &rules[i];
	return NULL;
}

static bool is_set(struct sv s)
{
	return s.len == 3 && strncasecmp(s.data, "SET", 3) == 0;
}

/* What an argument needs to know of those before it. */
struct masker {
	const struct rule *rule;
	unsigned i;	 /* of the argument */
	unsigned set;	 /* the last SET; 0: none */
	unsigned values; /* ZADD: where they begin; 0: not yet */
	bool config_set, bitfield_done;
};

static bool zadd_flag(struct sv s)
{
	return sv_eq(s, SV("NX")) || sv_eq(s, SV("XX")) || sv_eq(s, SV("CH")) || sv_eq(s, SV("INCR"));
}

static bool masked(struct masker *m, struct sv arg)
{
	unsigned i = m->i++;
	if (!m->rule)
		return false;
	switch (m->rule->mask) {
	case MASK_ONE:
		return i == m->rule->n;
	case MASK_STEP:
		return i >= m->rule->n && (i - m->rule->n) % m->rule->step == m->rule->step - 1;
	case MASK_CONFIG:
		m->config_set |= i == 0 && is_set(arg);
		return i == m->rule->n && m->config_set;
	case MASK_BITFIELD:
		if (is_set(arg))
			m->set = i;
		if (m->bitfield_done || m->set == 0 || i - m->set != 3)
			return false;
		m->bitfield_done = true;
		return true;
	case MASK_ZADD:
		if (i > 0 && m->values == 0 && !zadd_flag(arg))
			m->values = i;
		return m->values && (i - m->values) % 2 == 1;
	case MASK_ALL:
	case MASK_NONE:
		break;
	}
	return false;
}

/* Behind a command: true when this argument ends what is shown of it. */
static void add_argument(struct sbuf *out, struct masker *m, struct sv arg)
{
	bool all = m->rule && m->rule->mask == MASK_ALL;
	if (all && m->i > m->rule->n) {
		m->i++;
		return;
	}
	sbuf_addc(out, ' ');
	if (all && m->i == m->rule->n) {
		sbuf_addc(out, '?');
		m->i++;
	} else if (masked(m, arg)) {
		sbuf_addc(out, '?');
	} else {
		sbuf_addsv(out, arg);
	}
}

static bool is_blank(uint32_t c)
{
	return c == ' ' || (c >= '\t' && c <= '\r') || c == 0x85 || c == 0xa0;
}

static struct sv trim_blanks(struct sv s)
{
	while (s.len && is_blank((unsigned char)s.data[0]) && (unsigned char)s.data[0] < 128)
		s = (struct sv){s.data + 1, s.len - 1};
	while (s.len && is_blank((unsigned char)s.data[s.len - 1]) && (unsigned char)s.data[s.len - 1] < 128)
		s.len--;
	return s;
}

void obfuscate_redis_command(struct sbuf *out, struct sv commands)
{
	commands = trim_blanks(commands);
	struct tokens t = {.data = commands.data, .len = commands.len, .at = -1};
	struct masker m = {0};
	size_t begin = out->len, command_len = 0;
	for (bool more = true; more;) {
		struct sv token;
		bool argument = t.argument;
		more = argument ? tokens_argument(&t, &token) : tokens_command(&t, &token);
		if (argument) {
			add_argument(out, &m, token);
			continue;
		}
		/* What follows an empty command is shown only when it is the last one. */
		if (command_len)
			sbuf_addc(out, '\n');
		else
			cut_back(out, begin);
		begin = out->len;
		command_len = token.len;
		sbuf_addsv(out, token);
		m = (struct masker){.rule = rule_of(token)};
	}
}

/* --- nothing but the command -------------------------------------------------------------------------------------- */

static struct sv next_field(struct sv *s)
{
	*s = trim_blanks(*s);
	size_t n = 0;
	while (n < s->len && !(is_blank((unsigned char)s->data[n]) && (unsigned char)s->data[n] < 128))
		n++;
	struct sv field = {s->data, n};
	*s = (struct sv){s->data + n, s->len - n};
	return field;
}

void obfuscate_redis_remove_args(struct sbuf *out, struct sv commands)
{
	static const char *const bit_ops[] = {"SET", "GET", "INCRBY", NULL};
	static const char *const config_ops[] = {"GET", "SET", "RESETSTAT", "REWRITE", NULL};
	static const char *const bitfield[] = {"BITFIELD", NULL}, *const config[] = {"CONFIG", NULL};
	struct sv command = next_field(&commands), arg = next_field(&commands);
	sbuf_addsv(out, command);
	if (arg.len == 0)
		return;
	sbuf_addc(out, ' ');
	if (word_is(command, config) && word_is(arg, config_ops)) {
		sbuf_addsv(out, arg);
		sbuf_addc(out, ' ');
	}
	sbuf_addc(out, '?');
	for (; word_is(command, bitfield) && arg.len; arg = next_field(&commands)) {
		if (!word_is(arg, bit_ops))
			continue;
		sbuf_addc(out, ' ');
		sbuf_addsv(out, arg);
		sbuf_adds(out, " ?");
	}
}
