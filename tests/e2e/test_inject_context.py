# SPDX-License-Identifier: Apache-2.0
"""What the headers that are put into requests say: every style, what the caller sent along, and the decision about the trace,
which is the one that is reported."""
import json
import os
import re
import socket
import subprocess

import pytest

import agents
import harness
from harness import target_environment, wait_for
from test_inject import GATEWAY, HTTP_CLIENT, Client, clients, need_inject, receiver  # noqa: F401 (a fixture)
from test_sampling import keeps, rules



def ask(port, path, headers):
    with socket.create_connection(("127.0.0.1", port)) as c:
        c.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n{headers}\r\n".encode())
        assert c.recv(1 << 16).startswith(b"HTTP/1.1 200")


def block_of(stream):
    """The lines between the request line and the first of the program's own."""
    return re.match(rb"[^\n]*\n(.*?)Host: ", bytes(stream), re.S)[1].decode().split("\r\n")[:-1]


TRACE, PARENT = "6b01f95000000000a3ce929d0e0e4736", 67667974448284343
DATADOG = (f"x-datadog-trace-id: {int(TRACE[16:], 16)}\r\nx-datadog-parent-id: {PARENT}\r\nx-datadog-sampling-priority: 2\r\n"
           f"x-datadog-origin: synthetics\r\nx-datadog-tags: _dd.p.dm=-4,_dd.p.tid={TRACE[:16]},_dd.p.usr.id=YQ==\r\n")
W3C = f"traceparent: 00-{TRACE}-{PARENT:016x}-01\r\n"
# What comes in, and what goes out: {S} is the span's id.
CARRIED = [
    (DATADOG + W3C + "tracestate: dd=s:2;o:synthetics;p:0123456789abcdef;t.dm:-4, vendor=one ,other@x=t;wo\r\n"
     "baggage: user.id=alice,region=eu%20west;p=1\r\n",
     ["baggage: user.id=alice,region=eu%20west;p=1", f"x-datadog-trace-id: {int(TRACE[16:], 16)}", "x-datadog-parent-id: {D}",
      "x-datadog-sampling-priority: 2", "x-datadog-origin: synthetics",
      f"x-datadog-tags: _dd.p.dm=-4,_dd.p.usr.id=YQ==,_dd.p.tid={TRACE[:16]}", f"traceparent: 00-{TRACE}-{{S}}-01",
      f"tracestate: dd=p:{{S}};s:2;o:synthetics;t.dm:-4;t.usr.id:YQ~~;t.tid:{TRACE[:16]},vendor=one,other@x=t;wo"]),
    (W3C + "tracestate: a=b,dd=s:2;o:rum;t.dm:-4;t.x:1~2;t.tid:6b01f95000000000,c=d\r\n",
     [f"x-datadog-trace-id: {int(TRACE[16:], 16)}", "x-datadog-parent-id: {D}", "x-datadog-sampling-priority: 2", "x-datadog-origin: rum",
      f"x-datadog-tags: _dd.p.dm=-4,_dd.p.x=1=2,_dd.p.tid={TRACE[:16]}", f"traceparent: 00-{TRACE}-{{S}}-01",
      f"tracestate: dd=p:{{S}};s:2;o:rum;t.dm:-4;t.x:1~2;t.tid:{TRACE[:16]},a=b,c=d"]),
    # Too much of it: whole members from the right, an origin and baggage are left out.
    (W3C.replace("-01\r", "-00\r") + "tracestate: " + ",".join(f"m{i}={'x' * 40}" for i in range(8)) + "\r\nbaggage: a=" + "y" * 520 + "\r\n",
     [f"x-datadog-trace-id: {int(TRACE[16:], 16)}", "x-datadog-parent-id: {D}", "x-datadog-sampling-priority: 0",
      f"x-datadog-tags: _dd.p.tid={TRACE[:16]}", f"traceparent: 00-{TRACE}-{{S}}-00",
      f"tracestate: dd=p:{{S}};s:0;t.tid:{TRACE[:16]}," + ",".join(f"m{i}={'x' * 40}" for i in range(5))]),
]
LEFT = {"no_state": 1, "no_baggage": 1}


def test_carried(spanhound, background, receiver):
    """What the caller said goes on, whole or not at all, and the program's own bytes are what they were."""
    r = receiver()
    server = Client(background, GATEWAY, r.port).go()
    port = int(server.line())
    s = spanhound("--pid", server.pid, "--inject")
    for i, (headers, _) in enumerate(CARRIED):
        ask(port, f"/{i}", headers)
    result = s.stop()
    inject = need_inject(result)
    spans = {x["meta"]["http.url"].rpartition("/")[2]: x for x in clients(result)}
    for i, (_, want) in enumerate(CARRIED):
        span = spans[str(i)]["span_id"]
        lines = [x.format(S=f"{span:016x}", D=span) for x in want]
        assert block_of(r.streams[i]) == lines
        plain = b"GET /inner/%d HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept-Encoding: identity\r\n\r\n" % (i, r.port)
        assert r.streams[i] == plain.replace(b"\r\n", b"\r\n" + "".join(x + "\r\n" for x in lines).encode(), 1)
    assert inject["reasons"] == {"done": len(CARRIED), **LEFT}


STYLES = {
    "datadog": ["x-datadog-trace-id: {L}", "x-datadog-parent-id: {D}", "x-datadog-sampling-priority: 1", "x-datadog-tags: _dd.p.dm=-0,_dd.p.tid={H}"],
    "tracecontext": ["traceparent: 00-{T}-{S}-01", "tracestate: dd=p:{S};s:1;t.dm:-0,ot=rv:{R};th:0"],
    "b3multi": ["x-b3-traceid: {T}", "x-b3-spanid: {S}", "x-b3-sampled: 1"],
    "b3": ["b3: {T}-{S}-1"],
}


def test_styles(spanhound, background, receiver):
    """As each process's environment asks for them."""
    wanted = [[x] for x in STYLES] + [["b3", "datadog", "baggage"], ["none"]]
    made = [(receiver(), names) for names in wanted]
    started = [Client(background, HTTP_CLIENT, "127.0.0.1", r.port, 1, env={"DD_TRACE_PROPAGATION_STYLE_INJECT": ",".join(names)})
               for r, names in made]
    s = spanhound("--pid", ",".join(str(c.pid) for c in started), "--inject")
    for c in started:
        c.go()
    for c in started:
        c.finish()
    result = s.stop()
    inject = need_inject(result)
    for (r, names), c in zip(made, started):
        span, = (x for x in clients(result) if x["meta"]["http.url"].startswith(f"http://127.0.0.1:{r.port}/"))
        low = span["trace_id"]
        text = {"T": span["trace_id_128"], "H": span["trace_id_128"][:16], "L": low, "S": f"{span['span_id']:016x}", "D": span["span_id"],
                "R": f"{((1 << 64) - 1 - low * 1111111111111111111 % 2**64) >> 8:014x}"}
        want = [line.format(**text) for name in STYLES if name in names for line in STYLES[name]]
        assert block_of(r.streams[0]) == want, names
    assert inject["processes"]["styles"] == 1


def head_of(chunk):
    return next(x for x in chunk if "_sampling_priority_v1" in x.get("metrics", {}))


READERS = ["", "b3,b3multi,datadog", "ignore"]
B3 = f"b3: {TRACE}-{PARENT:016x}-1\r\n"


def test_readers(spanhound, background, receiver):
    """Whatever styles a process reads: what it sends names the trace that is reported, or nothing is sent."""
    servers = []
    for how in READERS:
        r = receiver()
        key = "DD_TRACE_PROPAGATION_BEHAVIOR_EXTRACT" if how == "ignore" else "DD_TRACE_PROPAGATION_STYLE_EXTRACT"
        servers.append((how, r, Client(background, GATEWAY, r.port, env={key: how} if how else None).go()))
    heads = [DATADOG + W3C, DATADOG, W3C + "tracestate: dd=s:2;o:rum;t.dm:-4,a=b\r\n", B3, DATADOG.replace("_dd.p.dm=-4", "malformed"), "",
             DATADOG.replace(TRACE[:16], "5" * 16) + W3C]
    s = spanhound("--pid", ",".join(str(c.pid) for _, _, c in servers), "--inject")
    for how, r, c in servers:
        port = int(c.line())
        for i, headers in enumerate(heads):
            ask(port, f"/{i}", headers)
    result = s.stop()
    inject = need_inject(result)
    missing = 0
    for how, r, _ in servers:
        for i, stream in enumerate(r.streams):
            span, = (x for x in clients(result) if x["meta"]["http.url"] == f"http://127.0.0.1:{r.port}/inner/{i}")
            m = re.search(rb"traceparent: 00-([0-9a-f]{32})-([0-9a-f]{16})-0[01]\r\ntracestate: dd=p:[0-9a-f]{16};s:(-?[0-9])", bytes(stream))
            missing += not m
            if m:
                assert (m[1].decode(), int(m[2], 16)) == (span["trace_id_128"], span["span_id"]), (how, i)
            else:
                assert b"x-datadog" not in stream
    # Of the malformed, where nothing better comes first.
    assert inject["reasons"]["unsure"] == missing and inject["reasons"]["done"] == len(heads) * len(servers) - missing
    assert missing == 2, inject


LATER = f"traceparent: 00-{TRACE}-00000000000000aa-01\r\n"  # the next hop's
ELSEWHERE = f"traceparent: 00-{'5' * 32}-00000000000000aa-01\r\n"
B3_64 = f"b3: {TRACE[16:].upper()}-{PARENT:x}-d-05e3ac9a4f6e3b90\r\n"
B3MULTI = f"X-B3-TraceId: {TRACE}\r\nX-B3-ParentSpanId: 05e3ac9a4f6e3b90\r\nX-B3-SpanId: {PARENT:016x}\r\nX-B3-Sampled: "
STATE = "tracestate: dd=s:2;o:rum;t.dm:-4,vendor=one\r\n"
# What a process reads; what comes in; whose trace that is (None: its own) below which span, and the priority (None: decided here); what
# goes out beside the ids, and what not.
READ = [
    ("b3", B3, (TRACE, PARENT, 1), [], []),
    ("b3", B3_64, ("0" * 16 + TRACE[16:], PARENT, 2), [], []),
    ("b3", DATADOG.replace(TRACE[:16], "5" * 16) + W3C + B3, (TRACE, PARENT, 1), [], ["synthetics", "_dd.p.usr.id"]),
    ("b3", "b3: 0\r\n", (None, 0, None), [], []),
    ("b3multi,b3,tracecontext,baggage", "b3: 0-5-0\r\nbaggage: user.id=a\r\n", (None, 0, None), ["baggage: user.id=a\r\n"], []),
    ("b3", "b3: 463ac35c9f6413ag-1-1\r\n" + DATADOG, (None, 0, None), [], ["synthetics"]),
    ("b3multi", B3MULTI + "0\r\n", (TRACE, PARENT, 0), [], []),
    ("b3multi", B3MULTI + "1\r\nX-B3-Flags: 1\r\nbaggage: user.id=a\r\n", (TRACE, PARENT, 2), [], ["baggage"]),
    ("b3multi,b3,tracecontext,baggage", LATER + STATE + B3MULTI + "1\r\nbaggage: user.id=a\r\n", (TRACE, 0xaa, 1),
     [",vendor=one\r\n", "baggage: user.id=a\r\n"], ["rum"]),
    ("b3multi,b3,tracecontext,baggage", ELSEWHERE + STATE + B3, (TRACE, PARENT, 1), [], ["vendor"]),
    ("tracecontext,datadog", DATADOG + LATER + STATE, (TRACE, 0xaa, 2), ["x-datadog-origin: rum\r\n", ",vendor=one\r\n"], ["_dd.p.usr.id"]),
    ("tracecontext,datadog", DATADOG + ELSEWHERE, ("5" * 32, 0xaa, 1), [], ["synthetics"]),
    ("tracecontext,datadog", DATADOG + "traceparent: ff" + LATER[15:], (TRACE, PARENT, 2), ["synthetics", "_dd.p.usr.id=YQ=="], []),
    ("", DATADOG + LATER + STATE, (TRACE, 0xaa, 2), ["synthetics", ",vendor=one\r\n"], ["rum"]),
    ("", DATADOG + ELSEWHERE + STATE, (TRACE, PARENT, 2), ["synthetics"], ["vendor"]),
    ("first:b3,datadog", DATADOG, (None, 0, None), [], ["synthetics"]),
    ("first:b3,datadog", DATADOG + B3, (TRACE, PARENT, 1), [], ["synthetics"]),
]


@pytest.mark.parametrize("styles", ["b3", "others"])
def test_read(spanhound, background, receiver, styles):
    """In every style, in the order the process says: what is asked for belongs to the trace that came in, as it is reported."""
    servers, rows = {}, [row for row in READ if (row[0] == "b3") == (styles == "b3")]
    for how in dict.fromkeys(how for how, *_ in rows):
        r, (first, _, names) = receiver(), how.rpartition(":")
        env = {"DD_TRACE_PROPAGATION_STYLE_EXTRACT": names, "DD_TRACE_PROPAGATION_EXTRACT_FIRST": str(first == "first")} if names else None
        servers[how] = r, Client(background, GATEWAY, r.port, env=env).go()
    s = spanhound("--pid", ",".join(str(c.pid) for _, c in servers.values()), "--inject")
    ports = {how: int(c.line()) for how, (_, c) in servers.items()}
    for i, (how, headers, *_) in enumerate(rows):
        ask(ports[how], f"/{i}", headers)
    result = s.stop()
    inject = need_inject(result)
    assert inject["reasons"] == {"done": len(rows)}
    asked = {x["meta"]["http.url"].rpartition("/")[2]: x for x in clients(result)}
    served = {x["span_id"]: x for x in result.spans if x["meta"].get("span.kind") == "server"}
    sent = {re.match(rb"GET /inner/([0-9]+)", bytes(stream))[1].decode(): stream for r, _ in servers.values() for stream in r.streams}
    for i, (how, _, (trace, parent, priority), there, absent) in enumerate(rows):
        span, text = asked[str(i)], bytes(sent[str(i)]).decode()
        server = served[span["parent_id"]]
        m = re.search(r"x-datadog-sampling-priority: (-?[0-9])\r\n", text)
        assert f"traceparent: 00-{span['trace_id_128']}-{span['span_id']:016x}-0" in text, i
        assert server["trace_id_128"] == span["trace_id_128"] and server["parent_id"] == parent, i
        assert trace in (None, span["trace_id_128"]) and (trace or span["trace_id_128"] not in (TRACE, "5" * 32)), i
        assert int(m[1]) == (1 if priority is None else priority), i
        assert all(x in text for x in there) and not any(x in text for x in absent), (i, text)


def told(stream):
    """{trace id: (priority, decision maker)} of the requests of a connection."""
    found = re.findall(rb"x-datadog-trace-id: ([0-9]+)\r\nx-datadog-parent-id: [0-9]+\r\nx-datadog-sampling-priority: (-?[0-9])\r\n"
                       rb"x-datadog-tags: _dd.p.dm=(-[0-9]+),", bytes(stream))
    return {int(i): (int(p), dm.decode()) for i, p, dm in found}


def agree(wire, traces):
    """What was on the wire is what the Agent is told, trace by trace."""
    heads = {h["trace_id"]: h for h in map(head_of, traces)}
    assert set(wire) <= set(heads)
    for i, (priority, dm) in wire.items():
        assert (heads[i]["metrics"]["_sampling_priority_v1"], heads[i]["meta"]["_dd.p.dm"]) == (priority, dm)
    return heads


ASK_ON = """
import http.client
c = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
while True:
    c.request("GET", "/")
    c.getresponse().read()
    print(flush=True)
    wait()
"""


def test_decisions(spanhound, background, receiver):
    """As the request leaves: the first rule that is known to match, here by the name; its limit; what the Agent answers, from
    then on. What is reported is what was on the wire."""
    agent = agents.FakeAgent()
    agent.rates = {"service:asker,env:e": 0.25}
    halves, few, asked = receiver(), receiver(), receiver()
    half = rules({"resource": "GET /1", "sample_rate": 0}, {"name": "http.server.*", "sample_rate": 0}, {"name": "http.client.*", "sample_rate": 0.5})
    a = Client(background, HTTP_CLIENT, "127.0.0.1", halves.port, 60, env={"DD_SERVICE": "halves", "DD_TRACE_RATE_LIMIT": "-1", **half})
    b = Client(background, HTTP_CLIENT, "127.0.0.1", few.port, 60, env={"DD_SERVICE": "few", "DD_TRACE_RATE_LIMIT": "0", **rules({"sample_rate": 1})})
    c = Client(background, ASK_ON, asked.port, env={"DD_SERVICE": "asker", "DD_ENV": "e"})
    s = spanhound("--pid", f"{a.pid},{b.pid},{c.pid}", "--inject", "--export", f"datadog:{agent.url}", export=False)
    a.go()
    b.go()
    c.go().line()
    a.finish()
    b.finish()

    def decided():
        for _ in range(40):
            c.go().line()
        return sum(dm == "-1" for _, dm in told(asked.streams[0]).values()) >= 80
    wait_for(decided, "the Agent's rate on the wire")
    need_inject(s.stop())
    traces = agent.chunks()
    agent.stop()

    wire = told(halves.streams[0])
    assert len(wire) == 60 and wire == {i: (2 if keeps(i, 0.5) else -1, "-3") for i in wire}
    heads = agree(wire, traces)
    for i, (priority, _) in wire.items():
        assert heads[i]["metrics"]["_dd.rule_psr"] == 0.5
        assert heads[i]["metrics"].get("_dd.limit_psr") == (1 if priority > 0 else None)
    wire = told(few.streams[0])
    assert len(wire) == 60 and set(wire.values()) == {(-1, "-3")}
    assert all(agree(wire, traces)[i]["metrics"]["_dd.limit_psr"] == 0 for i in wire)
    wire = told(asked.streams[0])
    heads = agree(wire, traces)
    assert {dm for _, dm in wire.values()} == {"-0", "-1"}
    for i, (priority, dm) in wire.items():
        assert priority == (keeps(i, 0.25) if dm == "-1" else 1)
        assert heads[i]["metrics"].get("_dd.agent_psr") == (0.25 if dm == "-1" else None)


DDTRACE = """
import http.server, json
from ddtrace.propagation.http import HTTPPropagator
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        c = HTTPPropagator.extract(dict(self.headers))
        print(json.dumps({"trace": f"{c.trace_id:032x}", "span": c.span_id, "priority": c.sampling_priority, "origin": c.dd_origin,
                          "meta": dict(c._meta), "baggage": dict(c._baggage), "links": len(c._span_links)}), flush=True)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_): pass
s = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(s.server_port, flush=True)
s.serve_forever()
"""


def test_ddtrace_takes_them(spanhound, background):
    """Datadog's tracer behind a program that got our headers: one trace, its origin, priority and tags."""
    python = os.path.join(harness.OUTPUT, "venv", "bin", "python")
    peer = background(python, "-c", DDTRACE, stdout=subprocess.PIPE, text=True,
                      env=target_environment({"DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false", "DD_TRACE_ENABLED": "false"}))
    server = Client(background, GATEWAY, peer.stdout.readline().strip()).go()
    port = int(server.line())
    s = spanhound("--pid", server.pid, "--inject")
    ask(port, "/0", CARRIED[0][0])
    first = json.loads(peer.stdout.readline())
    ask(port, "/1", CARRIED[1][0])
    second = json.loads(peer.stdout.readline())
    ask(port, "/2", "")
    third = json.loads(peer.stdout.readline())
    result = s.stop()
    need_inject(result)
    spans = {x["meta"]["http.url"].rpartition("/")[2]: x for x in clients(result)}
    for i, got in enumerate((first, second, third)):
        assert got["span"] == spans[str(i)]["span_id"] and got["trace"] == spans[str(i)]["trace_id_128"] and not got["links"]
    assert (first["trace"], first["priority"], first["origin"]) == (TRACE, 2, "synthetics")
    assert first["meta"]["_dd.p.dm"] == "-4" and first["meta"]["_dd.p.usr.id"] == "YQ==" and first["meta"]["_dd.p.tid"] == TRACE[:16]
    assert first["baggage"]["user.id"] == "alice" and "vendor=one,other@x=t;wo" in first["meta"]["tracestate"]
    assert (second["trace"], second["priority"], second["origin"], second["meta"]["_dd.p.x"]) == (TRACE, 2, "rum", "1=2")
    assert (third["priority"], third["meta"]["_dd.p.dm"]) == (1, "-0")
