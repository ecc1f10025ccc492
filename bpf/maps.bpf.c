/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "inject.bpf.h"
#include "option.bpf.h"
#include "remote.bpf.h"

struct rings_map rings SEC(".maps");
struct contexts_map contexts SEC(".maps");
struct blanks_map blanks SEC(".maps");
struct processes_map processes SEC(".maps");
struct conns_map conns SEC(".maps");
struct handoffs_map handoffs SEC(".maps");
struct tasks_map tasks SEC(".maps");
struct scratch_map scratch SEC(".maps");
struct images_map images SEC(".maps");
struct functions_map functions SEC(".maps");
struct specs_map specs SEC(".maps");
struct remotes_map remotes SEC(".maps");
struct remote_scratch_map remote_scratch SEC(".maps");
struct carried_map carried SEC(".maps");
struct decisions_map decisions SEC(".maps");
struct rates_map rates SEC(".maps");
struct inject_sockets_map inject_plain SEC(".maps");
struct inject_sockets_map inject_verdict SEC(".maps");
struct inject_wanted_map inject_wanted SEC(".maps");
struct inject_leaving_map inject_leaving SEC(".maps");
struct inject_scratch_map inject_scratch SEC(".maps");
struct excludes_map excludes SEC(".maps");
struct option_ends_map option_ends SEC(".maps");
struct option_ports_map option_ports SEC(".maps");

struct sh_shared shared;
const volatile struct sh_settings settings = {};

char LICENSE[] SEC("license") = "Dual BSD/GPL";
