/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The baseline of every probe: a program that does nothing, attached by one uprobe_multi link.
 *
 *   empty FILE session|entry OFFSET...
 *
 * session: runs at entry and at return, as function spans do. entry: at entry alone. Says "ready", detaches at the end
 * of standard input.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernel/links.h"

#define MAX_SITES 64

static int load_empty(bool session)
{
	const struct bpf_insn insns[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts,
		    .expected_attach_type =
			    (enum bpf_attach_type)(session ? LINK_ATTACH_UPROBE_SESSION : LINK_ATTACH_UPROBE_MULTI));
	int fd = bpf_prog_load(BPF_PROG_TYPE_KPROBE, "bench_empty", "GPL", insns, 2, &opts);
	return fd < 0 ? -errno : fd;
}

int main(int argc, char **argv)
{
	uint64_t offsets[MAX_SITES], cookies[MAX_SITES] = {0};
	uint32_t cnt = 0;
	if (argc < 4)
		return 2;
	bool session = !strcmp(argv[2], "session");
	for (int i = 3; i < argc && cnt < MAX_SITES; i++)
		offsets[cnt++] = strtoull(argv[i], NULL, 0);
	struct link_sites sites = {
		.path = argv[1], .offsets = offsets, .cookies = cookies, .cnt = cnt, .session = session};
	int prog = load_empty(session);
	int link = prog < 0 ? prog : link_uprobe_multi(prog, &sites);
	if (link < 0) {
		fprintf(stderr, "empty: %s\n", strerror(-link));
		return 1;
	}
	puts("ready");
	fflush(stdout);
	char byte;
	while (read(0, &byte, 1) > 0)
		;
	return 0;
}
