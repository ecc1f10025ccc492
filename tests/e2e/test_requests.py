# SPDX-License-Identifier: Apache-2.0
"""How requests are traced: what the probe list, our environment and the process's own say about it."""
import http.client
import os
import signal
import subprocess
import sys

import pytest

import harness
from harness import spanhound_once, target_environment

SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        status = 500 if self.path.startswith("/fail") else 200
        self.send_response(status)
        self.send_header("Content-Length", "2")
        self.send_header("X-Answer", "yes")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *_): pass
s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(s.server_port, flush=True)
s.serve_forever()
"""


@pytest.fixture
def server(background):
    """server(DD_...="...") -> (pid, port)"""
    def start(**env):
        p = background(sys.executable, "-c", SERVER, stdout=subprocess.PIPE, text=True, env=target_environment(env))
        return p.pid, int(p.stdout.readline())
    return start


def get(port, path, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=harness.PATIENCE_S)
    connection.request("GET", path, headers=headers)
    status = connection.getresponse().read()
    connection.close()
    return status


def write(tmp_path, text):
    path = tmp_path / "list.yaml"
    path.write_text(text)
    return path


def only(spans):
    assert len(spans) == 1, spans
    return spans[0]


def test_routes(spanhound, server, tmp_path):
    """A target's routes come first, then those of all; other processes do not have them."""
    (a, a_port), (b, b_port) = server(), server()
    s = spanhound("-c", write(tmp_path, f"""
routes: ["/all/{{name}}", "/shop/{{id}}"]
targets:
  - pid: {a}
    service: first
    routes: ["/shop/{{order}}", "/static/*"]
  - pid: {b}
    service: second
"""))
    for port in (a_port, b_port):
        for path in ("/shop/x", "/static/a/b", "/all/x", "/else/12345"):
            get(port, path)
    result = s.stop()
    names = {service: [s["resource"] for s in result.spans if s["service"] == service] for service in ("first", "second")}
    assert names["first"] == ["GET /shop/{order}", "GET /static/*", "GET /all/{name}", "GET /else/?"]
    assert names["second"] == ["GET /shop/{id}", "GET /static/a/b", "GET /all/{name}", "GET /else/?"]
    assert [s["meta"].get("http.route") for s in result.spans if s["service"] == "second"] == \
        ["/shop/{id}", None, "/all/{name}", None]


def test_settings(spanhound, server, tmp_path):
    """Each process its own; over them the probe list, and our environment over that."""
    own, own_port = server(DD_TRACE_HEADER_TAGS="x-one:own", DD_TRACE_HTTP_SERVER_ERROR_STATUSES="200",
                           DD_TRACE_PROPAGATION_STYLE_EXTRACT="b3", DD_TRACE_CLIENT_IP_ENABLED="perhaps")
    listed, listed_port = server(DD_TRACE_HEADER_TAGS="x-one:own", DD_TRACE_HTTP_SERVER_ERROR_STATUSES="200")
    plain, plain_port = server()
    s = spanhound("-c", write(tmp_path, f"""
targets:
  - {{pid: {own}, service: own}}
  - pid: {listed}
    service: listed
    settings: {{DD_TRACE_HEADER_TAGS: "x-two:listed", DD_HTTP_SERVER_TAG_QUERY_STRING: true}}
  - {{pid: {plain}, service: plain}}
"""), env={"DD_HTTP_SERVER_TAG_QUERY_STRING": "false"})
    for port in (own_port, listed_port, plain_port):
        get(port, "/x?a=b", **{"X-One": "1", "X-Two": "2", "X-B3-TraceId": "00000000000000aa", "b3":
                               "00000000000000aa-00000000000000bb-1", "x-datadog-trace-id": "204",
                               "x-datadog-parent-id": "221"})
    result = s.stop()
    span = {service: only([s for s in result.spans if s["service"] == service]) for service in ("own", "listed", "plain")}
    meta = {service: s["meta"] for service, s in span.items()}
    assert meta["own"]["own"] == "1" and "listed" not in meta["own"]
    assert meta["listed"]["listed"] == "2" and "own" not in meta["listed"]
    assert not {"own", "listed"} & set(meta["plain"])
    assert (span["own"]["error"], span["listed"]["error"], span["plain"]["error"]) == (1, 1, 0)
    assert all("?" not in m["http.url"] for m in meta.values())
    assert (span["own"]["trace_id"], span["own"]["parent_id"]) == (0xaa, 0xbb)
    assert (span["plain"]["trace_id"], span["plain"]["parent_id"]) == (204, 221)
    assert result.stderr.count("DD_TRACE_CLIENT_IP_ENABLED='perhaps'") == 1
    assert f"in the environment of process {own} " in result.stderr


def test_forked_children_keep_theirs(spanhound, background):
    code = SERVER.replace("s.serve_forever()", "import os\nfor _ in range(3): os.fork()\ns.serve_forever()")
    p = background(sys.executable, "-c", code, stdout=subprocess.PIPE, text=True, start_new_session=True,
                   env=target_environment({"DD_TRACE_HEADER_TAGS": "x-one:own", "DD_TRACE_CLIENT_IP_ENABLED": "perhaps"}))
    port = int(p.stdout.readline())
    s = spanhound("--pid", p.pid)
    try:
        for _ in range(200):
            get(port, "/x", **{"X-One": "1"})
    finally:
        result = s.stop()
        os.killpg(p.pid, signal.SIGKILL)
    assert len(result.spans) == 200
    assert all(s["meta"]["own"] == "1" for s in result.spans)
    assert result.stderr.count("'perhaps'") == 1


def test_our_mistakes_are_errors(server):
    pid, _ = server()
    status, _, err = spanhound_once("attach", "--pid", pid, env=target_environment({
        "DD_TRACE_HEADER_TAGS": "x-one:a", "DD_TRACE_PROPAGATION_STYLE": "b4"}))
    assert status == 2 and err.count("'b4'") == 1 and "in the environment of" not in err


# enum bpf_prog_type
RAW_TRACEPOINT, TRACING = "17", "26"


def program_types(pid):
    """Of the BPF programs a process has loaded."""
    types = []
    for fd in os.listdir(f"/proc/{pid}/fdinfo"):
        with open(f"/proc/{pid}/fdinfo/{fd}", encoding="utf-8") as f:
            types += [line.split()[1] for line in f if line.startswith("prog_type:")]
    return types


def test_no_http(spanhound, program, server, tmp_path):
    """Function spans alone; what would watch system calls is not even loaded."""
    pid, port = server()
    p = program("calls", "nested")
    s = spanhound("--pid", pid, "--pid", p.pid, "-f", "p_*", "--no-http")
    loaded = program_types(s.pid)
    assert TRACING not in loaded and loaded.count(RAW_TRACEPOINT) == 3  # fork, exec, exit
    get(port, "/x")
    p.run()
    result = s.stop()
    s = spanhound("--pid", pid)
    loaded = program_types(s.pid)
    assert TRACING in loaded and loaded.count(RAW_TRACEPOINT) > 3
    s.stop()
    assert result.spans and all(s["name"].startswith("p_") for s in result.spans)
    status, _, err = spanhound_once("attach", "--pid", pid, "--no-http")
    assert status == 2 and "HTTP is switched off, and there are no probes" in err
    path = write(tmp_path, "capture: {http: false}\n")
    status, _, err = spanhound_once("attach", "--pid", pid, "-c", path)
    assert status == 2 and "HTTP is switched off" in err
    status, _, err = spanhound_once("check", path)
    assert status == 2 and "nothing would be traced" in err


@pytest.mark.parametrize("head,cut", [("128", True), ("4k", False)])
def test_head(spanhound, server, tmp_path, head, cut):
    pid, port = server()
    s = spanhound("--pid", pid, "-c", write(tmp_path, f"capture: {{head: {head}}}\nsettings: {{DD_TRACE_HEADER_TAGS: x-last}}\n"))
    get(port, "/x", **{"X-Filler": "f" * 3000, "X-Last": "here"})
    meta = only(s.stop().spans)["meta"]
    assert ("spanhound.truncated" in meta) == cut
    assert meta.get("http.request.headers.x-last") == (None if cut else "here")


def test_replay(spanhound, server, tmp_path):
    """A capture holds what was configured, and whose it was."""
    capture, again = tmp_path / "c.bin", tmp_path / "again.json"
    pid, port = server(DD_TRACE_HEADER_TAGS="x-one:own")
    s = spanhound("-c", write(tmp_path, f"routes: /b/{{id}}\ntargets:\n  - {{name: no-such-program}}\n  - {{pid: {pid}, routes: '/a/{{id}}'}}\n"),
                  "--export", f"capture:{capture}")
    for path in ("/a/x", "/b/x"):
        get(port, path, **{"X-One": "1"})
    live = s.stop().spans
    status, _, err = spanhound_once("replay", capture, "--export", f"json:{again}")
    assert status == 0, err
    replayed = harness.read_spans(str(again))
    for spans in (live, replayed):
        assert [(s["resource"], s["meta"]["own"]) for s in spans] == [("GET /a/{id}", "1"), ("GET /b/{id}", "1")]


def test_summary(spanhound, server, tmp_path):
    """Requests by service and resource, servers and clients, and how they are linked: while it runs and at its end."""
    (a, a_port), (b, _) = server(DD_SERVICE="first"), server(DD_SERVICE="second")
    s = spanhound("--pid", f"{a},{b}")
    for path in ["/x"] * 3 + ["/fail"] * 2:
        get(a_port, path)
    harness.wait_for(lambda: s.process.send_signal(signal.SIGUSR1) or "server first: GET /fail" in s.stderr, "the summary")
    get(a_port, "/x", traceparent="00-" + "1" * 32 + "-" + "2" * 16 + "-01")
    result = s.stop()
    rows = [{k: v for k, v in row.items() if not k.endswith("_ns")} for row in result.summary["requests"]]
    assert rows == [{"service": "first", "resource": "GET /x", "kind": "server", "requests": 4, "errors": 0},
                    {"service": "first", "resource": "GET /fail", "kind": "server", "requests": 2, "errors": 2}]
    for row in result.summary["requests"]:
        spans = [s["duration"] for s in result.spans if s["resource"] == row["resource"]]
        assert row["max_ns"] == max(spans) and 0 < row["p50_ns"] <= row["p95_ns"] <= row["max_ns"]
    assert {k: v for k, v in result.summary["links"].items() if v} == {"none": 5, "header": 1}
    assert "requests linked by header 1; 5 without a parent" in result.stderr
    assert "           4        0" in result.stderr


FORWARDER = SERVER.replace("    def do_GET(self):\n", """    def do_GET(self):
        c = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
        c.request("GET", "/behind", headers={k: v for k, v in self.headers.items() if k.lower().startswith("x-datadog")})
        c.getresponse().read()
""").replace("import http.server, sys", "import http.client, http.server, sys")


def test_links(spanhound, server, background):
    """Traces that a request's headers claim beside the one that it is in are linked, as ddtrace links them; and so is what a proxy
    handed on of its caller's, where the proxy's own span is known."""
    (usual, usual_port), (anew, anew_port) = server(), server(DD_TRACE_PROPAGATION_BEHAVIOR_EXTRACT="restart")
    forwarder = background(sys.executable, "-c", FORWARDER, str(usual_port), stdout=subprocess.PIPE, text=True, env=target_environment())
    forwarder_port = int(forwarder.stdout.readline())
    s = spanhound("--pid", f"{usual},{anew},{forwarder.pid}")
    datadog = {"x-datadog-trace-id": "2", "x-datadog-parent-id": "3", "x-datadog-sampling-priority": "1"}
    w3c = {"traceparent": "00-12345678901234567890123456789012-1234567890123456-01", "tracestate": "a=b,dd=s:2"}
    get(usual_port, "/both", **datadog, **w3c)
    get(usual_port, "/one", **datadog)
    get(anew_port, "/anew", **datadog)
    get(forwarder_port, "/through", **datadog)
    result = s.stop()

    def of(resource, kind="server"):
        return only([x for x in result.spans if x["resource"] == f"GET {resource}" and x["meta"]["span.kind"] == kind])

    both = of("/both")
    assert (both["trace_id"], both["parent_id"]) == (2, 3)
    assert both["span_links"] == [{"trace_id": "12345678901234567890123456789012", "span_id": "1234567890123456",
                                   "attributes": {"reason": "terminated_context", "context_headers": "tracecontext"},
                                   "tracestate": "dd=s:2,a=b", "flags": 1}]
    assert "span_links" not in of("/one") and of("/one")["parent_id"] == 3
    assert of("/anew")["trace_id"] != 2 and of("/anew")["parent_id"] == 0
    caller = {"trace_id": f"{2:032x}", "span_id": f"{3:016x}"}
    assert of("/anew")["span_links"] == [{**caller, "attributes": {"reason": "propagation_behavior_extract", "context_headers": "datadog"},
                                          "flags": 1}]
    behind, asks = of("/behind"), of("/behind", "client")
    assert behind["meta"]["spanhound.link"] == "peer" and behind["parent_id"] == asks["span_id"] and behind["trace_id"] == 2
    assert behind["span_links"] == [{**caller, "attributes": {"reason": "forwarded_context"}, "flags": 1}]
    assert "span_links" not in asks and "span_links" not in of("/through")


def test_span_rules(spanhound, server, tmp_path):
    """Finished spans are changed and left out by what the file says, and every one is accounted for."""
    pid, port = server(DD_SERVICE="shop", DD_ENV="prod")
    path = write(tmp_path, f"""
targets:
  - pid: {pid}
    span_rules:
      - match: {{resource: "GET /health"}}
        drop: true
span_rules:
  - match: {{name: http.server.*, tags: {{http.status_code: "5??", env: PROD}}, peer: 127.0.0.1}}
    set:
      resource: "{{http.method}} failed with {{http.status_code}}"
      service: Broken Shop
      tags: {{team: "{{service}}-{{env}}"}}
      metrics: {{weight: 2.5}}
    rename: {{http.useragent: agent}}
    remove: [component, http.version]
""")
    s = spanhound("-c", path, env={"DD_TRACE_CLIENT_IP_ENABLED": "true"})
    for what in ("/health", "/fail", "/cart", "/health"):
        get(port, what, **{"User-Agent": "curl"})
    r = s.stop()
    assert r.dropped == {"span_rule": 2} and r.summary["seen"] == 4
    cart, failed = sorted(r.spans, key=lambda x: x["resource"])
    assert cart["service"] == "shop" and cart["resource"] == "GET /cart" and cart["meta"]["component"] == "http"
    assert failed["resource"] == "GET failed with 500" and failed["service"] == "broken_shop"
    assert failed["meta"]["team"] == "shop-prod" and failed["metrics"]["weight"] == 2.5
    assert failed["meta"]["agent"] == "curl" and failed["meta"]["_dd.base_service"] == "shop"
    assert not {"component", "http.version", "http.useragent"} & set(failed["meta"])
