# SPDX-License-Identifier: Apache-2.0
"""A program with Datadog's tracer in it asks one that is only watched, which asks another with Datadog's tracer in it, in each style:
one trace, each span below the one that asked, with one sampling priority, origin and baggage."""
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

import agents
import harness
from harness import target_environment, wait_for
from test_ddtrace_peer import chunks
from test_inject import GATEWAY, Client, clients, need_inject

# What each style has words for.
STYLES = {"datadog": True, "tracecontext": True, "b3": False, "b3multi": False}
ORIGIN = "synthetics"
PYTHON = os.path.join(harness.OUTPUT, "venv", "bin", "python")
DDTRACE_RUN = os.path.join(harness.OUTPUT, "venv", "bin", "ddtrace-run")
QUIET = {"DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false", "DD_REMOTE_CONFIGURATION_ENABLED": "false", "DD_CRASHTRACKING_ENABLED": "false",
         "DD_TRACE_STARTUP_LOGS": "false"}

# Either end of the chain, in one process: for each port that it reads it asks there, and says what came to its own server.
BOTH_ENDS = """
import http.client, http.server, json, sys, threading
from ddtrace.propagation.http import HTTPPropagator
from ddtrace.trace import tracer
heard = []
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        c = HTTPPropagator.extract(dict(self.headers))
        heard.append({"names": sorted(k.lower() for k in self.headers), "trace": f"{c.trace_id:032x}", "span": c.span_id,
                      "priority": c.sampling_priority, "origin": c.dd_origin, "baggage": dict(c._baggage), "links": len(c._span_links)})
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_): pass
s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=s.serve_forever, daemon=True).start()
print(s.server_port, flush=True)
for line in sys.stdin:
    with tracer.trace("ask", span_type="http") as span:
        span.set_tag("manual.keep")
        span.context.dd_origin = "synthetics"
        span.context.set_baggage_item("user.id", "alice")
        headers = {}
        HTTPPropagator.inject(span.context, headers)
        c = http.client.HTTPConnection("127.0.0.1", int(line))
        c.request("GET", "/a", headers=headers)
        c.getresponse().read()
        print(json.dumps({"trace": f"{span.trace_id:032x}", "span": span.span_id, "headers": headers, "heard": heard.pop()}), flush=True)
"""


def middle(background, style, port):
    """A Python program without a tracer, that reads and writes one style and baggage."""
    return Client(background, GATEWAY, port, env={"DD_TRACE_PROPAGATION_STYLE": f"{style},baggage", "DD_SERVICE": f"middle-{style}"})


def test_styles(spanhound, background):
    """ddtrace (Python) at both ends. Its requests say it in every style; who is in the middle reads one and writes one."""
    ends = background(PYTHON, "-c", BOTH_ENDS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                      env=target_environment({**QUIET, "DD_TRACE_AGENT_URL": "http://127.0.0.1:1",
                                              "DD_TRACE_PROPAGATION_STYLE": ",".join([*STYLES, "baggage"])}))
    port = ends.stdout.readline().strip()
    servers = {style: middle(background, style, port).go() for style in STYLES}
    s = spanhound("--pid", ",".join(str(c.pid) for c in servers.values()), "--inject")
    said = {}
    for style, c in servers.items():
        ends.stdin.write(c.line() + "\n")
        ends.stdin.flush()
        said[style] = json.loads(ends.stdout.readline())
    result = s.stop()
    need_inject(result)
    spans = {style: {x["meta"]["span.kind"]: x for x in result.spans if x["service"] == f"middle-{style}"} for style in STYLES}
    for style, has_origin in STYLES.items():
        asked, heard, server, client = said[style], said[style]["heard"], spans[style]["server"], spans[style]["client"]
        assert len({asked["trace"], server["trace_id_128"], client["trace_id_128"], heard["trace"]}) == 1, style
        assert (server["parent_id"], client["parent_id"], heard["span"]) == (asked["span"], server["span_id"], client["span_id"]), style
        assert (heard["priority"], heard["origin"], heard["links"]) == (2, ORIGIN if has_origin else None, 0), style
        assert heard["baggage"] == {"user.id": "alice"} and server["meta"]["baggage.user.id"] == "alice"
        assert server["metrics"]["_sampling_priority_v1"] == 2 and server["meta"].get("_dd.origin") == heard["origin"]
        # Of the four styles that came in, the one it writes went out.
        only = {"datadog": "x-datadog-trace-id", "tracecontext": "traceparent", "b3": "b3", "b3multi": "x-b3-traceid"}
        assert {n for n in only.values() if n in heard["names"]} == {only[style]} and all(n in asked["headers"] for n in only.values())


ASK = """
import sys
import requests
from ddtrace.trace import tracer
for line in sys.stdin:
    with tracer.trace("ask") as span:
        span.set_tag("manual.keep")
        span.context.dd_origin = "synthetics"
        span.context.set_baggage_item("user.id", "alice")
        requests.get(f"http://127.0.0.1:{int(line)}/a")
    tracer.flush()
    print(flush=True)
"""
NODE = """
const tracer = require("dd-trace").init({flushInterval: 50});
const http = require("http");
const server = http.createServer((request, response) => response.end("hello"));
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
"""
NODE_STYLE = {"b3": "b3 single header"}


@pytest.fixture(scope="module")
def dd_trace():
    """Where Node finds dd-trace, of the version this was written with."""
    if not shutil.which("npm"):
        pytest.skip("no npm")
    folder = os.path.join(harness.OUTPUT, "node")
    os.makedirs(folder, exist_ok=True)
    if not os.path.exists(os.path.join(folder, "node_modules", "dd-trace", "package.json")):
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--omit=dev", "dd-trace@5.132.0"], cwd=folder, check=True,
                       stdout=subprocess.DEVNULL)
    return folder


def of(agent, service):
    return [s for c in chunks(agent) for s in c if s["service"] == service]


def wide(span, trace):
    """A trace id as the Agent is told it, 128 bits of it: the upper half is a tag of each chunk's first span."""
    tid, = {s["meta"]["_dd.p.tid"] for s in trace if s["trace_id"] == span["trace_id"] and "_dd.p.tid" in s.get("meta", {})}
    return f"{tid}{span['trace_id']:016x}"


@pytest.mark.soak
@pytest.mark.parametrize("style", STYLES)
def test_node(spanhound, background, tmp_path, dd_trace, style):
    """ddtrace (Python) asks by one of its integrations, dd-trace (Node) serves at the end: all spans as an Agent gets them."""
    agent = agents.FakeAgent(lambda number, path: 200 if path.startswith("/v0.4/") else 404)
    common = {**QUIET, "DD_TRACE_AGENT_URL": agent.url, "DD_TRACE_API_VERSION": "v0.4", "DD_TRACE_WRITER_INTERVAL_SECONDS": "0.1"}
    styles = {"DD_TRACE_PROPAGATION_STYLE": f"{style},baggage"}
    node_styles = {"DD_TRACE_PROPAGATION_STYLE": f"{NODE_STYLE.get(style, style)},baggage"}
    script = harness.write(tmp_path, "server.js", NODE)
    server = background("node", script, stdout=subprocess.PIPE, text=True,
                        env=target_environment({**common, **node_styles, "DD_SERVICE": "far", "NODE_PATH": os.path.join(dd_trace, "node_modules")}))
    port = server.stdout.readline().strip()
    ask = harness.write(tmp_path, "ask.py", ASK)
    asker = background(DDTRACE_RUN, PYTHON, ask, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                       env=target_environment({**common, **styles, "DD_SERVICE": "near"}))
    c = middle(background, style, port).go()
    s = spanhound("--pid", c.pid, "--inject", "--export", f"datadog:{agent.url}", export=False)
    asker.stdin.write(c.line() + "\n")
    asker.stdin.flush()
    asker.stdout.readline()
    wait_for(lambda: [x for x in of(agent, "far") if x["meta"].get("span.kind") == "server"], "what dd-trace sends")
    s.stop()
    wait_for(lambda: [x for x in of(agent, "requests") if x["name"] == "requests.request"], "what ddtrace sends")
    traces = [x for t in chunks(agent) for x in t]
    agent.stop()
    near, = (x for x in traces if x["name"] == "requests.request")
    spans = {x["meta"]["span.kind"]: x for x in traces if x["service"] == f"middle-{style}"}
    far, = (x for x in traces if x["service"] == "far" and x["meta"].get("span.kind") == "server")
    chain = [near, spans["server"], spans["client"], far]
    assert len({wide(x, traces) for x in chain}) == 1
    assert [x["parent_id"] for x in chain[1:]] == [x["span_id"] for x in chain[:-1]]
    firsts = [next(x for x in traces if x["service"] == "near"), spans["server"], far]
    assert [x["metrics"]["_sampling_priority_v1"] for x in firsts] == [2, 2, 2]
    assert {x["meta"].get("_dd.origin") for x in firsts[1:]} == {ORIGIN if STYLES[style] else None}
    assert {x["meta"].get("baggage.user.id") for x in firsts[1:]} == {"alice"}
    assert not any(re.search("link", k) for x in chain for k in x)
