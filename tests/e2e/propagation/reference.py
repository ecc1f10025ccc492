# SPDX-License-Identifier: Apache-2.0
"""What ddtrace's own propagator makes of requests: the same input and output as peer.c, with the deviations that
propagation.h lists, each by a name, so that everything else must be equal."""
import json
import re
import sys
import urllib.parse

from ddtrace._trace.context import Context
from ddtrace.internal.opentelemetry.sampling import materialize_otel_sampling_decision
from ddtrace.internal.utils import http as utils_http
from ddtrace.propagation import http

SPAN_ID = 0x1122334455667788
NEW_TRACE = 0x6B00C4E800000000F0A98EB0E9061128
U64 = (1 << 64) - 1

broken = []
wide = []


def note_exception(message, *_, **__):
    """ddtrace lost everything. Under "ignore" (KeyError) and where there was nothing to restart (AttributeError) that is what
    was asked for."""
    if message.startswith("error while extracting") and not isinstance(sys.exc_info()[1], (KeyError, AttributeError)):
        broken.append(True)


extract_styles = http.HTTPPropagator._extract_configured_contexts_avail


def note_wide_ids(headers):
    contexts, styles = extract_styles(headers)
    wide.extend(c for c in contexts if (c.span_id or 0) > U64)
    return contexts, styles


def add_p(tracestate, span_id):
    """Only our own member begins with p, not whatever contains "dd="; a stale member of the sender is not sent again."""
    p = f"p:{span_id:016x}"
    if tracestate.startswith("dd="):
        tracestate = f"dd={p};{tracestate[3:]}"
    else:
        tracestate = f"dd={p},{tracestate}" if tracestate else f"dd={p}"
    # Blanks around members have no meaning; sometimes ddtrace leaves one after its own.
    return re.sub(r" +(?=,|$)", "", tracestate)


def is_tid(text):
    return re.fullmatch("[0-9a-f]{16}", text) is not None and int(text, 16) != 0


def lossless(safe):
    return lambda text: urllib.parse.quote(text, safe=safe.replace("%", ""))


http.log.debug = note_exception
http.HTTPPropagator._extract_configured_contexts_avail = staticmethod(note_wide_ids)
http.w3c_tracestate_add_p = utils_http.w3c_tracestate_add_p = add_p
http._DatadogMultiHeader._higher_order_is_valid = staticmethod(is_tid)
http._BaggageHeader._encode_key = staticmethod(lossless(http._BaggageHeader.SAFE_CHARACTERS_KEY))
http._BaggageHeader._encode_value = staticmethod(lossless(http._BaggageHeader.SAFE_CHARACTERS_VALUE))


def describe(context):
    meta = context._meta
    span_id = context.span_id or 0
    return {
        "found": int(bool(context.trace_id or context._baggage or context._span_links)),
        "trace_id": f"{context.trace_id or 0:032x}",
        "span_id": f"{span_id if span_id <= U64 else 0:016x}",
        "priority": None if context.sampling_priority is None
        else max(-(2**31 - 1), min(2**31 - 1, context.sampling_priority)),
        "origin": context.dd_origin,
        "error": meta.get("_dd.propagation_error"),
        "last_parent": meta.get("_dd.parent_id"),
        "tracestate": meta.get("tracestate") or None,
        "tags": [[k, v] for k, v in meta.items() if k.startswith("_dd.p.")],
        "baggage": [[k, v] for k, v in context._baggage.items()],
        "baggage_tags": [[k, v] for k, v in meta.items() if k.startswith("baggage.")],
        "links": [{"trace_id": f"{link.trace_id:032x}", "span_id": f"{link.span_id:016x}", "flags": link.flags,
                   "tracestate": link.tracestate, "reason": link.attributes["reason"],
                   "context_headers": link.attributes["context_headers"]} for link in context._span_links],
    }


def answer(headers):
    broken.clear()
    wide.clear()
    # A dict of names: what a server makes of repeated headers is a comma in between.
    joined = {}
    for name, value in headers:
        name, value = name.lower(), bytes.fromhex(value).decode().strip(" \t")
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    context = http.HTTPPropagator.extract(joined)
    context = context or Context()
    out = describe(context)
    out["raised"] = bool(broken)
    out["wide"] = bool(wide)
    # trace_utils.activate_distributed_headers(): nothing of a context that nobody continues is used.
    if not out["found"]:
        empty = Context()
        out.update(describe(empty))
        context = empty
    child = context.copy(context.trace_id or NEW_TRACE, SPAN_ID)
    if child.sampling_priority is None:
        child.sampling_priority = 1
        child._meta["_dd.p.dm"] = "-1"
        materialize_otel_sampling_decision(child._meta, child.trace_id, True, 0.5, True)
    elif not -(2**31) < child.sampling_priority < 2**31:
        child.sampling_priority = out["priority"]
    injected = {}
    before = child._meta.get("_dd.propagation_error")
    http.HTTPPropagator.inject(child, injected)
    after = child._meta.get("_dd.propagation_error")
    out["inject_error"] = after if after in ("inject_max_size", "encoding_error", "disabled") and (
        before is None or after == "disabled") else None
    out["headers"] = "".join(f"{name}: {value}\r\n" for name, value in injected.items() if value or name != "baggage")
    return out


def main():
    headers = []
    for line in sys.stdin:
        name, tab, value = line.rstrip("\n").partition("\t")
        if tab:
            headers.append((name, value))
            continue
        print(json.dumps(answer(headers)))
        headers = []


main()
