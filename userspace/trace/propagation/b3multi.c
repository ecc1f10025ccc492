/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/propagation/b3.h"
#include "trace/propagation/style.h"

/* x-b3-*: openzipkin/b3-propagation, ddtrace propagation/http.py _B3MultiHeader. */

static int extract(const struct propagation_settings *s, const struct propagation_headers *h, struct arena *a,
		   struct propagation_context *ctx)
{
	(void)s, (void)a;
	const struct sv *value = h->value;
	if (!value[PROPAGATION_HEADER_B3_TRACE_ID].data)
		return 0;
	if (!b3_read_ids(value[PROPAGATION_HEADER_B3_TRACE_ID], value[PROPAGATION_HEADER_B3_SPAN_ID], ctx))
		return 0;
	struct sv sampled = value[PROPAGATION_HEADER_B3_SAMPLED];
	if (sv_eq(sampled, SV("0")) || sv_eq(sampled, SV("1")))
		ctx->priority = sampled.data[0] - '0';
	if (sv_eq(value[PROPAGATION_HEADER_B3_FLAGS], SV("1")))
		ctx->priority = 2;
	return 1;
}

static struct sv inject(const struct propagation_settings *s, const struct propagation_context *ctx, uint64_t span_id,
			struct sbuf *out)
{
	(void)s;
	sbuf_adds(out, "x-b3-traceid: ");
	b3_write_trace_id(ctx, out);
	sbuf_adds(out, "\r\nx-b3-spanid: ");
	sbuf_addx(out, span_id, 16);
	if (ctx->priority > 1)
		sbuf_adds(out, "\r\nx-b3-flags: 1");
	else if (ctx->priority != PROPAGATION_PRIORITY_NONE)
		sbuf_adds(out, ctx->priority == 1 ? "\r\nx-b3-sampled: 1" : "\r\nx-b3-sampled: 0");
	sbuf_adds(out, "\r\n");
	return SV_NULL;
}

const struct propagation_style propagation_b3multi = {.extract = extract, .inject = inject};
