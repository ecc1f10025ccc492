/* SPDX-License-Identifier: Apache-2.0 */
#include "target/procparse.h"

#include <errno.h>
#include <limits.h>

#include "target/text.h"

#define PF_KTHREAD 0x00200000 /* include/linux/sched.h */

int proc_stat_parse(struct sv text, struct proc_stat *ret)
{
	struct proc_stat s = {0};
	const char *open = text.len ? memchr(text.data, '(', text.len) : NULL;
	/* The name may hold parentheses itself, the fields behind it cannot. */
	const char *close = text.len ? memrchr(text.data, ')', text.len) : NULL;
	if (!open || !close || close < open)
		return -EINVAL;
	s.comm = (struct sv){open + 1, (size_t)(close - open - 1)};
	struct sv rest = {close + 1, text.len - (size_t)(close + 1 - text.data)};
	struct sv state = text_word(&rest);
	if (state.len != 1)
		return -EINVAL;
	s.state = state.data[0];
	for (int field = 4; field <= 22; field++) {
		struct sv word = text_word(&rest);
		uint64_t value;
		if (field != 4 && field != 9 && field != 20 && field != 22)
			continue;
		if (!text_u64(&word, 10, &value) || (field != 22 && value > UINT32_MAX))
			return -EINVAL;
		if (field == 4)
			s.ppid = (int)value;
		else if (field == 9)
			s.kernel_thread = value & PF_KTHREAD;
		else if (field == 20)
			s.threads = (int)value;
		else
			s.start_ticks = value;
	}
	*ret = s;
	return 0;
}

/* "Key:\tvalue": the first number of the value. */
static bool status_number(struct sv line, struct sv key, uint64_t *ret)
{
	if (!sv_starts(line, key))
		return false;
	struct sv rest = {line.data + key.len, line.len - key.len};
	struct sv word = text_word(&rest);
	return text_u64(&word, 10, ret) && !word.len && *ret <= UINT32_MAX;
}

static void status_ns_pid(struct sv line, struct proc_status *s)
{
	struct sv rest = {line.data + 6, line.len - 6};
	for (int depth = 0;; depth++) {
		struct sv word = text_word(&rest);
		uint64_t pid;
		if (!text_u64(&word, 10, &pid) || word.len || pid > INT_MAX)
			return;
		s->ns_pid = (int)pid;
		s->ns_depth = depth;
	}
}

static void status_uids(struct sv line, struct proc_status *s)
{
	struct sv rest = {line.data + 4, line.len - 4};
	struct sv real = text_word(&rest), effective = text_word(&rest);
	uint64_t uid;
	if (text_u64(&real, 10, &uid) && uid <= UINT32_MAX)
		s->uid = (uint32_t)uid;
	if (text_u64(&effective, 10, &uid) && uid <= UINT32_MAX)
		s->euid = (uint32_t)uid;
}

int proc_status_parse(struct sv text, struct proc_status *ret)
{
	struct proc_status s = {.seccomp = -1};
	bool tgid = false;
	while (text.len) {
		struct sv line = text_line(&text);
		uint64_t value;
		if (status_number(line, SV("Tgid:"), &value)) {
			s.tgid = (int)value;
			tgid = true;
		} else if (status_number(line, SV("PPid:"), &value)) {
			s.ppid = (int)value;
		} else if (status_number(line, SV("Threads:"), &value)) {
			s.threads = (int)value;
		} else if (status_number(line, SV("Seccomp:"), &value)) {
			s.seccomp = (int)value;
		} else if (sv_starts(line, SV("NSpid:"))) {
			status_ns_pid(line, &s);
		} else if (sv_starts(line, SV("Uid:"))) {
			status_uids(line, &s);
		}
	}
	if (!tgid)
		return -EINVAL;
	if (!s.ns_pid) /* a kernel without PID namespaces */
		s.ns_pid = s.tgid;
	*ret = s;
	return 0;
}

bool environ_get(struct sv vars, const char *name, struct sv *ret)
{
	size_t len = strlen(name);
	while (vars.len) {
		struct sv var = text_until(&vars, '\0');
		if (var.len > len && var.data[len] == '=' && memcmp(var.data, name, len) == 0) {
			*ret = (struct sv){var.data + len + 1, var.len - len - 1};
			return true;
		}
	}
	return false;
}

bool cmdline_next(struct sv *rest, struct sv *ret)
{
	if (!rest->len)
		return false;
	*ret = text_until(rest, '\0');
	return true;
}

int tcp_parse(struct sv line, struct tcp_line *ret)
{
	uint64_t port[2], state, inode;
	text_word(&line); /* the row's number */
	for (int i = 0; i < 2; i++) {
		struct sv address = text_word(&line);
		text_until(&address, ':');
		if (!text_u64(&address, 16, &port[i]) || address.len || port[i] > UINT16_MAX)
			return 0;
	}
	struct sv word = text_word(&line);
	if (!text_u64(&word, 16, &state) || word.len || state > UINT8_MAX)
		return 0;
	for (int i = 0; i < 5; i++) /* queues, timer, retransmits, uid, timeout */
		text_word(&line);
	word = text_word(&line);
	if (!text_u64(&word, 10, &inode) || word.len)
		return 0;
	*ret = (struct tcp_line){(uint8_t)state, (uint16_t)port[0], (uint16_t)port[1], inode};
	return 1;
}

int listen_parse(struct sv line, uint64_t *ret_inode, uint16_t *ret_port)
{
	struct tcp_line t;
	if (!tcp_parse(line, &t) || t.state != TCP_LINE_LISTENS || !t.inode)
		return 0;
	*ret_inode = t.inode;
	*ret_port = t.port;
	return 1;
}
