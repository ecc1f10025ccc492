# SPDX-License-Identifier: Apache-2.0
"""The same program once with Datadog's own tracer in it and once only watched from outside: what an Agent is told of its
requests differs in what is listed here, and in nothing else. The table is printed (pytest -s)."""
import http.client
import os
import re
import subprocess
import sys

import msgpack
import pytest

import agents
import harness

APP = """
import sys
import flask, requests
app = flask.Flask("shop")

@app.route("/users/<int:number>")
def user(number):
    return {"number": number}

@app.route("/fail")
def fail():
    return "no", 500

@app.route("/call")
def call():
    return requests.get(sys.argv[2] + "/stock/17?full=1", timeout=60).text

app.run(port=int(sys.argv[1]), threaded=False)
"""
ASKED = ("/users/7", "/fail", "/call", "/nowhere")
HEADERS = {"User-Agent": "peer/1.0"}

# What a tracer inside the program knows and nobody outside, or calls by the name of the library: (span, key).
DIFFERENT = {
    ("server", "name"): "flask.request: ours are named by the protocol, as those of libraries Datadog does not know",
    ("server", "component"): "flask", ("client", "component"): "requests",
    ("client", "name"): "requests.request",
    ("server", "resource"): "the route, with its variables' names: here they are told from the path",
    ("client", "resource"): "the path as it is, without an eye on how many there are",
    ("client", "service"): "an integration's default: the library's name; so it is its service's first span, of no version",
    ("client", "version"): "likewise", ("client", "_dd.top_level"): "likewise",
}
# Keys, or what they begin with.
ONLY_THEIRS = {
    "server": ("flask.", "http.route", "_dd.code_origin.", "_dd.svc_src", "_dd.tracer_kr"),
    "client": ("_dd.svc_src", "_dd.base_service", "http.status_msg"),
}
ONLY_OURS = {
    "server": ("thread.", "spanhound.", "http.version", "http.request.content_length", "http.response.content_length"),
    "client": ("thread.", "spanhound.", "http.version", "http.request.content_length", "http.response.content_length",
               "http.useragent", "network.destination.port", "peer.service", "_dd.peer.service.source"),
}


@pytest.fixture
def upstream(background):
    serve = ("import http.server\n"
             "class H(http.server.BaseHTTPRequestHandler):\n"
             "    protocol_version = 'HTTP/1.1'\n"
             "    def do_GET(self):\n"
             "        self.send_response(200); self.send_header('Content-Length', '2'); self.end_headers()\n"
             "        self.wfile.write(b'17')\n"
             "    def log_message(self, *_): pass\n"
             "s = http.server.HTTPServer(('127.0.0.1', 0), H)\n"
             "print(s.server_port, flush=True)\n"
             "s.serve_forever()\n")
    p = background(sys.executable, "-c", serve, stdout=subprocess.PIPE, text=True)
    return int(p.stdout.readline())


def ask(port):
    """Each of the pages, once somebody listens."""
    def page(path):
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=harness.PATIENCE_S)
        try:
            c.request("GET", path, headers=HEADERS)
            return c.getresponse().read()
        except ConnectionRefusedError:
            return None
        finally:
            c.close()
    harness.wait_for(lambda: page("/users/1") is not None, "the application")
    return page


def chunks(agent):
    return [c for path, _, body, _ in agent.requests if path.startswith("/v0.4/")
            for c in msgpack.unpackb(body, strict_map_key=False)]


def role(span):
    kind = span.get("meta", {}).get("span.kind")
    return kind if kind in ("server", "client") else None


def plain(span, ports):
    """Every key and value, without what no two runs have in common."""
    out = {k: span[k] for k in ("name", "resource", "type", "service")}
    out["error"] = span.get("error", 0)
    out.update(span.get("meta", {}))
    out.update(span.get("metrics", {}))
    for k in ("_dd.p.tid", "process_id", "runtime-id"):
        if k in out:
            out[k] = type(out[k]).__name__
    for k in ("_dd.tags.process",):
        out.pop(k, None)  # one is a script's, the other that of a program that ddtrace-run started
    return {k: re.sub("|".join(map(str, ports)), "PORT", v) if isinstance(v, str) else v for k, v in out.items()}


def table(spans, ports):
    """{(role, path): {key: value}}"""
    got = {}
    for s in spans:
        who = role(s)
        url = s.get("meta", {}).get("http.url", "")
        if who and not url.endswith("/users/1"):
            got[who, re.sub(r"^http://[^/]*", "", url)] = plain(s, ports)
    return got


def compare(theirs, ours):
    rows, wrong = [], []
    assert set(theirs) == set(ours), (sorted(theirs), sorted(ours))
    for (who, path), a in sorted(theirs.items()):
        b = ours[who, path]
        for key in sorted(set(a) | set(b)):
            if a.get(key) == b.get(key):
                continue
            known = (who, key) in DIFFERENT or (key not in b and key.startswith(ONLY_THEIRS[who])) or \
                (key not in a and key.startswith(ONLY_OURS[who]))
            rows.append(f"{who:7}{path:22}{key:32}{str(a.get(key, '-'))[:38]:40}{str(b.get(key, '-'))[:38]}")
            if not known:
                wrong.append(rows[-1])
    print("\n" + f"{'span':7}{'path':22}{'key':32}{'ddtrace':40}spanhound\n" + "\n".join(rows))
    return wrong


def test_flask_and_requests(spanhound, background, tmp_path, upstream):
    script = harness.write(tmp_path, "app.py", APP)
    python = os.path.join(harness.OUTPUT, "venv", "bin", "python")
    common = {"DD_SERVICE": "shop", "DD_ENV": "prod", "DD_VERSION": "1.2", "DD_TAGS": "team:cart"}
    inside, outside = agents.FakeAgent(), agents.FakeAgent()
    ports = agents.free_port(), agents.free_port()
    env = {"DD_TRACE_AGENT_URL": inside.url, "DD_TRACE_API_VERSION": "v0.4", "DD_TRACE_WRITER_INTERVAL_SECONDS": "0.2",
           "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false", "DD_REMOTE_CONFIGURATION_ENABLED": "false",
           "DD_CRASHTRACKING_ENABLED": "false"}

    def start(port, env, *prefix):
        return background(*prefix, python, script, str(port), f"http://127.0.0.1:{upstream}",
                          env=harness.target_environment({**common, **env}), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    start(ports[0], env, os.path.join(harness.OUTPUT, "venv", "bin", "ddtrace-run"))
    alone = start(ports[1], {})
    page = ask(ports[1])
    s = spanhound("--pid", alone.pid, "--export", f"datadog:{outside.url}", export=False)
    for path in ASKED:
        page(path)
    s.stop()
    page = ask(ports[0])
    for path in ASKED:
        page(path)
    harness.wait_for(lambda: len(table([x for c in chunks(inside) for x in c], ())) == len(ASKED) + 1, "what ddtrace sends")

    theirs = table([x for c in chunks(inside) for x in c], (ports[0], upstream))
    ours = table([x for c in chunks(outside) for x in c], (ports[1], upstream))
    inside.stop()
    outside.stop()
    wrong = compare(theirs, ours)
    assert not wrong, "differences that are not listed:\n" + "\n".join(wrong)
