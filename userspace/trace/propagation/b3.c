/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/propagation/b3.h"
#include "trace/propagation/style.h"

/* b3: openzipkin/b3-propagation, ddtrace propagation/http.py _B3SingleHeader. */

bool b3_read_ids(struct sv trace_id, struct sv span_id, struct propagation_context *ctx)
{
	struct lenient_int n;
	if (trace_id.data) {
		if (!lenient_int(trace_id, 16, &n))
			return false;
		if (!n.negative && !n.big) {
			ctx->trace_hi = (uint64_t)(n.magnitude >> 64);
			ctx->trace_lo = (uint64_t)n.magnitude;
		}
	}
	if (span_id.data) {
		if (!lenient_int(span_id, 16, &n))
			return false;
		ctx->span_id = lenient_id(&n);
	}
	return true;
}

void b3_write_trace_id(const struct propagation_context *ctx, struct sbuf *out)
{
	if (ctx->trace_hi)
		sbuf_addx(out, ctx->trace_hi, 16);
	sbuf_addx(out, ctx->trace_lo, 16);
}

/* TraceId-SpanId[-SamplingState[-ParentSpanId]], or the sampling state alone. */
static int extract(const struct propagation_settings *s, const struct propagation_headers *h, struct arena *a,
		   struct propagation_context *ctx)
{
	(void)s, (void)a;
	struct sv rest = h->value[PROPAGATION_HEADER_B3];
	if (!rest.len)
		return 0;
	struct sv trace_id = sv_split(&rest, '-');
	struct sv span_id = sv_split(&rest, '-');
	struct sv sampled = sv_split(&rest, '-');
	if (!span_id.data) {
		sampled = trace_id;
		trace_id = SV_NULL;
	}
	if (!b3_read_ids(trace_id, span_id, ctx))
		return 0;
	if (sv_eq(sampled, SV("0")) || sv_eq(sampled, SV("1")))
		ctx->priority = sampled.data[0] - '0';
	else if (sv_eq(sampled, SV("d")))
		ctx->priority = 2;
	return 1;
}

static struct sv inject(const struct propagation_settings *s, const struct propagation_context *ctx, uint64_t span_id,
			struct sbuf *out)
{
	(void)s;
	sbuf_adds(out, "b3: ");
	b3_write_trace_id(ctx, out);
	sbuf_addc(out, '-');
	sbuf_addx(out, span_id, 16);
	if (ctx->priority != PROPAGATION_PRIORITY_NONE) {
		sbuf_addc(out, '-');
		sbuf_addc(out, ctx->priority > 1 ? 'd' : ctx->priority == 1 ? '1' : '0');
	}
	sbuf_adds(out, "\r\n");
	return SV_NULL;
}

const struct propagation_style propagation_b3 = {.extract = extract, .inject = inject};
