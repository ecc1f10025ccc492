# SPDX-License-Identifier: Apache-2.0
"""A proxy that hands on its caller's trace headers, as nginx does: in every style, and any of them together, they come to name
its own client span, digit by digit in their places, and nothing else of the message changes."""
import re
import socket

from harness import PATIENCE_S
from test_inject import Client, clients, in_mode, need_inject, nginx, receiver  # noqa: F401 (fixtures)

TRACE, SPAN, PARENT = "6b01f95000000000a3ce929d0e0e4736", f"{1667667974448284343:016x}", "05e3ac9a4f6e3b90"
LOW = TRACE[16:]
# {S}: the span that is named, {D} in decimal; {Q}: its parent.
DATADOG = (f"x-datadog-trace-id: {int(LOW, 16)}\r\nx-datadog-parent-id: {{D}}\r\nx-datadog-sampling-priority: 1\r\n"
           f"x-datadog-tags: _dd.p.tid={TRACE[:16]}\r\n")
W3C = f"traceparent: 00-{TRACE}-{{S}}-01\r\n"
MULTI = f"X-B3-TraceId: {TRACE}\r\nX-B3-ParentSpanId: {{Q}}\r\nX-B3-SpanId: {{S}}\r\nX-B3-Sampled: 1\r\n"
MULTI_LOW = f"x-b3-flags: 1\r\nx-b3-spanid: {{S}}\r\nx-b3-traceid: {LOW}\r\n"
B3 = f"b3: {TRACE}-{{S}}-1-{{Q}}\r\n"
STATE = "tracestate: a=p:0123456789abcdef,dd=s:1;p:{S};t.dm:-0,b=dd=p:0123456789abcdef\r\n"

# There the last of Datadog's spans is another one; and a header that names no span is no obstacle.
ANY_LAST = [W3C + "tracestate: dd=p:0123456789ABCDEF ,x=y\r\nb3: 0\r\n", "tracestate: dd=o:p;s:2;p:0123456789abcdef\r\nX-B3-Sampled: 1\r\n" + W3C]

ALL, USUAL = "b3,b3multi,datadog,tracecontext", ""
REPLACED = {
    ALL: [
        B3,
        f"b3: {TRACE}-{{S}}\r\n",
        f"B3: {LOW}-{{S}}-d\r\n",
        f"b3: {LOW}-{{S}}-0-{{Q}}\r\n",
        MULTI,
        MULTI_LOW,
        MULTI + B3,
        f"b3: {LOW}-{{S}}-0-{{Q}}\r\n" + MULTI_LOW,
        STATE + B3 + W3C + MULTI + DATADOG,
        DATADOG + MULTI + "A: b\r\n" + B3,
        W3C + B3,
    ],
    USUAL: [
        DATADOG + W3C + STATE + MULTI + B3,
        B3 + MULTI + DATADOG,
        MULTI.replace("X-B3-ParentSpanId: {Q}\r\n", "") + STATE + W3C,
        *ANY_LAST,
        # Not what is none, nor of two.
        W3C + "tracestate: dd=p:0123456789abcde;s:1\r\n",
        W3C + "tracestate: dd=p:0123456789abcdef0;s:1\r\n",
        W3C + "tracestate: dd=p:0123456789abcdef;s:1;p:0123456789abcdef\r\n",
    ],
}
# As they came.
CARRIES = {
    ALL: [
        "b3: 0\r\n",
        "b3: d\r\n",
        "x-b3-sampled: 1\r\n",
        "x-b3-flags: 1\r\n",
        f"b3: {TRACE}-5-1\r\n",
        f"b3: 5-{SPAN}-1\r\n",
        f"b3: {TRACE[1:]}-{SPAN}-1\r\n",
        f"b3: {TRACE}-{SPAN}-true\r\n",
        f"b3: {TRACE}-{SPAN}-1-5\r\n",
        f"b3: {TRACE}-{SPAN}-1-{PARENT}-\r\n",
        f"b3: {TRACE}-{SPAN[:-1]}g-1\r\n",
        f"b3: {TRACE}-{'0' * 16}-1\r\n",
        f"b3: {TRACE}-{SPAN}\r\nb3: {TRACE}-{SPAN}\r\n",
        f"x-b3-traceid: {TRACE}\r\nx-b3-spanid: 5\r\n",
        f"x-b3-traceid: {TRACE}\r\nx-b3-spanid: {SPAN}\r\nx-b3-parentspanid: 5\r\n",
        f"x-b3-traceid: {TRACE}\r\nx-b3-spanid: {SPAN}\r\nx-b3-spanid: {SPAN}\r\n",
        f"x-b3-traceid: {TRACE}\r\n",
        f"x-b3-spanid: {SPAN}\r\n",
        f"x-b3-traceid: {TRACE}\r\nx-b3-spanid: {SPAN}\r\nb3: {TRACE}-{PARENT}-1\r\n",
        f"b3: {TRACE}-{SPAN}-1\r\ntraceparent: 00-{'5' * 32}-{SPAN}-01\r\n",
    ],
    USUAL: [
        # In words that mean nothing to it.
        f"b3: {TRACE}-{SPAN}-1\r\n",
        f"x-b3-traceid: {TRACE}\r\nx-b3-spanid: {SPAN}\r\n",
        f"traceparent: 00-{TRACE}-{SPAN}-01\r\nb3: {TRACE}-{PARENT}-1\r\n",
        f"traceparent: 00-{TRACE}-{SPAN}-01\r\nb3: {LOW}-{SPAN}-1\r\n",
        f"traceparent: 00-{TRACE}-{SPAN}-01\r\nx-b3-spanid: {SPAN}\r\n",
    ],
}


def ask(c, path, headers):
    c.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n{headers}\r\n".encode())
    got = b""
    while b"\r\n\r\n" not in got or len(got.partition(b"\r\n\r\n")[2]) < 4096:  # what a Receiver answers
        data = c.recv(65536)
        assert data
        got += data
    assert got.startswith(b"HTTP/1.1 200")


def named(headers, span=int(SPAN, 16), parent=int(PARENT, 16)):
    return headers.format(S=f"{span:016x}", D=span, Q=f"{parent:016x}")


def reads(styles):
    return {"DD_TRACE_PROPAGATION_STYLE_EXTRACT": styles} if styles else None


def of_path(spans, kind):
    return {s["meta"]["http.url"].rpartition("/")[2]: s for s in spans if s["meta"].get("span.kind") == kind}


def send(port, styles):
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as c:
        for i, headers in enumerate(REPLACED[styles] + CARRIES[styles]):
            ask(c, f"/{port}.{i}", named(headers))


def check(result, r, port, styles):
    """What arrived is what the proxy wrote, but for the digits of the span and of its parent."""
    asked, served = of_path(clients(result), "client"), {x["span_id"]: x for x in result.spans if x["meta"].get("span.kind") == "server"}
    heads, sent = r.all.decode().split("\r\n\r\n")[:-1], REPLACED[styles] + CARRIES[styles]
    assert len(heads) == len(sent) and len(r.streams) == 1
    for i, (head, headers) in enumerate(zip(heads, sent)):
        span, own = asked[f"{port}.{i}"], named(headers)
        if headers in REPLACED[styles]:
            server = served[span["parent_id"]]
            assert server["parent_id"] == int(SPAN, 16) and span["trace_id_128"] == server["trace_id_128"]
            assert span["trace_id_128"] == (TRACE if TRACE in headers else LOW.rjust(32, "0"))
            own = named(headers, span["span_id"], span["parent_id"])
        if headers in ANY_LAST:
            own = re.sub("p:[0-9A-Fa-f]{16}", f"p:{span['span_id']:016x}", own)
        assert head + "\r\n\r\n" == f"GET /{port}.{i} HTTP/1.1\r\nHost: a\r\n{own}\r\n", (styles, i)


def test_nginx(spanhound, nginx, receiver, tmp_path):
    made = {styles: (r, nginx(r.port, reads(styles))) for styles, r in ((ALL, receiver()), (USUAL, receiver()))}
    s = spanhound(*in_mode(tmp_path, "verdict"), "--pid", ",".join(str(n.pid) for _, n in made.values()))
    for styles, (_, n) in made.items():
        send(n.port, styles)
    result = s.stop()
    inject = need_inject(result)
    for styles, (r, n) in made.items():
        check(result, r, n.port, styles)
    assert inject["reasons"] == {"replaced": sum(map(len, REPLACED.values())), "carries": sum(map(len, CARRIES.values()))}


FORWARDER = """
import socket
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
c, _ = listener.accept()
up = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
while head := c.recv(65536):
    up.sendall(head)
    answer = b""
    while len(answer.partition(b"\\r\\n\\r\\n")[2]) < 4096:
        answer += up.recv(65536)
    c.sendall(answer)
"""


def test_python(spanhound, background, receiver):
    """Of a program whose sockets are looked at the plain way."""
    r = receiver()
    c = Client(background, FORWARDER, r.port, env=reads(ALL)).go()
    port = int(c.line())
    s = spanhound("--pid", c.pid, "--inject")
    send(port, ALL)
    result = s.stop()
    assert need_inject(result)["reasons"] == {"replaced": len(REPLACED[ALL]), "carries": len(CARRIES[ALL])}
    check(result, r, port, ALL)


def test_next_hop(spanhound, nginx, receiver, tmp_path):
    """On another host, as far as spanhound is concerned: what is served there was asked for by the proxy, not by its caller."""
    r = receiver()
    second = nginx(r.port, reads("b3,b3multi"))
    first = nginx(second.port, reads("b3,b3multi"))
    made = [spanhound(*in_mode(tmp_path, "verdict"), "--pid", n.pid, wait_ready=False) for n in (first, second)]
    for s in made:
        s.wait_ready()
    heads = [B3, MULTI, f"b3: {LOW}-{{S}}-1\r\n", MULTI_LOW, B3 + MULTI]
    with socket.create_connection(("127.0.0.1", first.port), timeout=PATIENCE_S) as c:
        for i, headers in enumerate(heads):
            ask(c, f"/{i}", named(headers))
    results = [s.stop() for s in made]
    assert [need_inject(x)["reasons"] for x in results] == [{"replaced": len(heads)}] * 2
    chains = [of_path(x.spans, kind) for x in results for kind in ("server", "client")]
    arrived = r.all.decode().split("\r\n\r\n")
    for i, headers in enumerate(heads):
        spans = [chain[str(i)] for chain in chains]
        assert [x["parent_id"] for x in spans] == [int(SPAN, 16)] + [x["span_id"] for x in spans[:-1]]
        assert {x["trace_id_128"] for x in spans} == {TRACE if TRACE in headers else LOW.rjust(32, "0")}
        assert spans[2]["meta"]["spanhound.link"] == "header"
        own = named(headers, spans[3]["span_id"], spans[2]["span_id"])
        assert arrived[i] + "\r\n\r\n" == f"GET /{i} HTTP/1.1\r\nHost: a\r\n{own}\r\n"
