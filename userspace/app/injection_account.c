/* SPDX-License-Identifier: Apache-2.0 */
/* What became of the requests of those that get headers, for people and for programs. */
#include "app/injection.h"

const char *injection_reason_name(unsigned reason)
{
	static const char *const names[] = {
#define INJECT(id, name, help) [id] = #name,
#include "spanhound/inject.def"
#undef INJECT
	};
	return reason < sizeof(names) / sizeof(names[0]) ? names[reason] : NULL;
}

static const char *reason_help(unsigned reason)
{
	static const char *const help[] = {
#define INJECT(id, name, text) [id] = text,
#include "spanhound/inject.def"
#undef INJECT
	};
	return help[reason];
}

static bool happened(const struct injection *i, const struct sh_shared *shared)
{
	bool any = shared->inject_enrolled || i->older || i->turned;
	for (unsigned r = 0; r < SH_INJECTS; r++)
		any |= shared->injects[r] != 0;
	return any;
}

void injection_print(const struct injection *i, struct kernel *k, FILE *out)
{
	const struct sh_shared *shared = kernel_shared(k);
	const struct inject_status *status = kernel_inject(k);
	const char *sep = "headers injected: ";
	if (!status->on || (i->unasked && !happened(i, shared)))
		return;
	for (unsigned r = 0; r < SH_INJECTS; r++) {
		if (!injection_reason_name(r) || (r && !shared->injects[r]))
			continue;
		fprintf(out, "%s%s %llu", sep, injection_reason_name(r), (unsigned long long)shared->injects[r]);
		sep = ", ";
	}
	fprintf(out, "; on %llu connections", (unsigned long long)(shared->inject_enrolled + i->older));
	if (i->older)
		fprintf(out, ", %llu of them older than spanhound", (unsigned long long)i->older);
	fputs("\n", out);
	for (unsigned r = SH_INJECT_done + 1; r < SH_INJECTS; r++)
		if (injection_reason_name(r) && shared->injects[r])
			fprintf(out, "  %s: %s\n", injection_reason_name(r), reason_help(r));
	if (kernel_inject_unread(k))
		fprintf(out,
			"  %u connections had received bytes that were not read when spanhound ended: they are lost to their "
			"programs (propagation: {inject: verdict})\n",
			kernel_inject_unread(k));
	if (i->watched)
		fprintf(out,
			"  %u processes were watched first, as it was not known what they do on their sockets, and this kernel does "
			"not carry everything: %u got headers then, %u are left alone, %u did not do enough yet\n",
			i->watched, i->passed, i->failed,
			i->watched > i->passed + i->failed ? i->watched - i->passed - i->failed : 0);
	if (i->turned)
		fprintf(out,
			"  %u processes were left alone once they did what this kernel does not carry; %llu connections were taken "
			"out\n",
			i->turned, (unsigned long long)i->withdrawn);
	if (i->no_mode)
		fprintf(out,
			"  %u processes are left alone: this kernel does not safely carry what they do on their sockets "
			"(propagation: {inject: verdict} does, and loses bytes on their way when spanhound is killed)\n",
			i->no_mode);
	if (i->styles)
		fprintf(out,
			"  %u processes are left alone: their propagation style is not written by the kernel half\n",
			i->styles);
	if (shared->inject_left_out)
		fprintf(out, "  %llu connections are not enrolled: the table is full\n",
			(unsigned long long)shared->inject_left_out);
}

void injection_json(const struct injection *i, struct kernel *k, struct sbuf *out)
{
	const struct sh_shared *shared = kernel_shared(k);
	sbuf_adds(out, "\"inject\":{");
	inject_json(kernel_inject(k), out);
	sbuf_addf(out, ",\"enrolled\":%llu,\"left\":%llu,\"left_out\":%llu,\"reasons\":{",
		  (unsigned long long)shared->inject_enrolled, (unsigned long long)shared->inject_leaving,
		  (unsigned long long)shared->inject_left_out);
	const char *sep = "";
	for (unsigned r = 0; r < SH_INJECTS; r++) {
		if (!injection_reason_name(r) || !shared->injects[r])
			continue;
		sbuf_addf(out, "%s\"%s\":%llu", sep, injection_reason_name(r), (unsigned long long)shared->injects[r]);
		sep = ",";
	}
	sbuf_addf(out, "},\"unread_at_end\":%u", kernel_inject_unread(k));
	sbuf_addf(out, ",\"older\":%llu,\"older_ns\":%llu", (unsigned long long)i->older,
		  (unsigned long long)i->older_ns);
	sbuf_addf(
		out,
		",\"processes\":{\"watched\":%u,\"passed\":%u,\"failed\":%u,\"no_mode\":%u,\"styles\":%u,\"turned\":%u},\"withdrawn\":%llu}",
		i->watched, i->passed, i->failed, i->no_mode, i->styles, i->turned, (unsigned long long)i->withdrawn);
}
