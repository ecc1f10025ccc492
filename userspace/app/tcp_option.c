/* SPDX-License-Identifier: Apache-2.0 */
#include "app/tcp_option.h"

#include "app/injection.h"
#include "base/log.h"
#include "target/listeners.h"

static const char *const names[SH_OPTIONS] = {
#define OPTION(id, name, help) [id] = #name,
#include "spanhound/option.def"
#undef OPTION
};

static const char *const help[SH_OPTIONS] = {
#define OPTION(id, name, text) [id] = text,
#include "spanhound/option.def"
#undef OPTION
};

bool tcp_option_wanted(bool asked, enum target_option all, const struct target_spec *targets, size_t cnt)
{
	bool wanted = asked || all == TARGET_OPTION_ON;
	for (size_t i = 0; i < cnt; i++)
		wanted |= targets[i].propagation.option == TARGET_OPTION_ON;
	return wanted;
}

uint32_t tcp_option_flags(struct tcp_option *t, const struct option_status *status, const struct target_spec *spec,
			  const struct process_info *info)
{
	enum target_option how = spec->propagation.option ? spec->propagation.option : t->standard;
	if (!status->on && spec->propagation.option == TARGET_OPTION_ON && !t->off_said) {
		t->off_said = true;
		log_warn("a target asks for TCP options (propagation:), and there are none: %s", status->why_not);
	}
	if (!status->on || how != TARGET_OPTION_ON)
		return 0;
	uint32_t styles = injection_styles(info);
	t->styles += !styles;
	return styles ? styles | SH_PROCESS_OPTION : 0;
}

void tcp_option_listen(struct kernel *k, struct proc *p, uint32_t flags)
{
	struct listeners l = {0};
	struct int_vec ports = {0};
	uint64_t netns;
	if (!(flags & SH_PROCESS_OPTION))
		return;
	/* What cannot be looked at is heard from its next listen() on. */
	if (listeners_ports(&l, p, &ports) == 0 && proc_namespace(p, "net", &netns) == 0)
		vec_foreach (port, &ports)
			kernel_option_port(k, netns, (uint16_t)*port);
	vec_release(&ports);
	listeners_release(&l);
}

void tcp_option_print(const struct tcp_option *t, struct kernel *k, FILE *out)
{
	const struct sh_shared *shared = kernel_shared(k);
	const char *sep = "TCP options: ";
	if (!kernel_option(k)->on)
		return;
	for (unsigned i = 0; i < SH_OPTIONS; i++) {
		if (!names[i] || (i != SH_OPTION_sent && i != SH_OPTION_heard && !shared->options[i]))
			continue;
		fprintf(out, "%s%s %llu", sep, names[i], (unsigned long long)shared->options[i]);
		sep = ", ";
	}
	fputs("\n", out);
	for (unsigned i = 0; i < SH_OPTIONS; i++)
		if (names[i] && i != SH_OPTION_sent && i != SH_OPTION_heard && shared->options[i])
			fprintf(out, "  %s: %s\n", names[i], help[i]);
	if (t->styles)
		fprintf(out, "  %u processes have none: their propagation style is not written by the kernel half\n",
			t->styles);
}

void tcp_option_json(const struct tcp_option *t, struct kernel *k, struct sbuf *out)
{
	const struct sh_shared *shared = kernel_shared(k);
	const struct option_status *status = kernel_option(k);
	const char *sep = "";
	sbuf_addf(out, "\"tcp_option\":{\"on\":%s,\"why_not\":", status->on ? "true" : "false");
	sbuf_add_json(out, sv_of(status->why_not));
	sbuf_addf(out, ",\"styles\":%u,\"counts\":{", t->styles);
	for (unsigned i = 0; i < SH_OPTIONS; i++) {
		if (!names[i] || !shared->options[i])
			continue;
		sbuf_addf(out, "%s\"%s\":%llu", sep, names[i], (unsigned long long)shared->options[i]);
		sep = ",";
	}
	sbuf_adds(out, "}}");
}
