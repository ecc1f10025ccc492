# SPDX-License-Identifier: Apache-2.0
"""Work that goes from thread to thread over a queue: linked where the probe list declares how, not at all without."""
import http.client
import http.server
import re
import subprocess
import threading
import urllib.parse

import pytest

import harness
from harness import program_path, spanhound_once, target_environment

REQUESTS = 300
CLIENTS = 8
WORKERS = 4

LIST = """handoffs:
  - {{from: give_job, to: {to}, key: {key}}}
"""


class Upstream(http.server.ThreadingHTTPServer):
    """Not traced: what the workers ask."""
    request_queue_size = 64
    daemon_threads = True

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one segment: no delayed ACK between head and body

        def do_GET(self):
            body = self.path.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture
def pool(background):
    """The service, running: (pid, port)."""
    upstream = Upstream()
    p = background(program_path("o2", "handoff"), str(upstream.server_port), str(WORKERS), stdout=subprocess.PIPE,
                   text=True, env=target_environment())
    words = p.stdout.readline().split()
    yield int(words[1]), int(words[3])
    upstream.shutdown()
    upstream.server_close()


def ask(port, requests=REQUESTS, clients=CLIENTS):
    """Requests by several clients at once; each knows by its URL what it should cause."""
    wrong = []

    def client(number):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=harness.PATIENCE_S)
        for i in range(number, requests, clients):
            connection.request("GET", f"/r/{i}x")
            answer = connection.getresponse().read().decode()
            if answer != f"/up/{i}x":
                wrong.append((i, answer))
        connection.close()

    threads = [threading.Thread(target=client, args=(n,)) for n in range(clients)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def ident(span):
    """Which request it is about, as the URL says."""
    return re.search(r"/(\d+x)$", urllib.parse.urlsplit(span["meta"]["http.url"]).path).group(1)


def by_kind(result):
    servers = [s for s in result.spans if s["meta"].get("span.kind") == "server"]
    clients = [s for s in result.spans if s["meta"].get("span.kind") == "client"]
    return servers, clients


def traced(spanhound, tmp_path, pid, port, text, *args):
    path = tmp_path / "list.yaml"
    path.write_text(text)
    s = spanhound("--pid", pid, "-c", path, *args)
    ask(port)
    return s.stop()


@pytest.mark.parametrize("to,key,link,end", [
    ("take_job", "{from: 2, to: return}", "session", "auto"),
    ("take_job", "{from: 2, to: return}", "multi", "sites"),
    ("take_job", "{from: 2, to: return}", "perf", "auto"),
    ("run_job", "{at: 2}", "session", "auto"),
    ("run_job", "{at: 2}", "perf", "auto"),
])
def test_linked(spanhound, pool, tmp_path, info, to, key, link, end):
    if link not in info["links"]:
        pytest.skip(f"no {link} links here")
    result = traced(spanhound, tmp_path, *pool, LIST.format(to=to, key=key), "--link", link, "--end", end)
    servers, clients = by_kind(result)
    assert len(servers) == len(clients) == REQUESTS
    own = {ident(s): s for s in servers}
    for c in clients:
        server = own[ident(c)]
        assert c["parent_id"] == server["span_id"] and c["trace_id"] == server["trace_id"], (c, server)
        assert c["meta"]["spanhound.link"] == "handoff", c
    assert result.summary["links"]["handoff"] == REQUESTS


def test_unlinked_without(spanhound, pool, tmp_path):
    result = traced(spanhound, tmp_path, *pool, "env: prod\n")
    servers, clients = by_kind(result)
    assert len(servers) == len(clients) == REQUESTS
    ids = {s["span_id"] for s in servers}
    for c in clients:
        assert c["parent_id"] not in ids and "spanhound.link" not in c["meta"], c
    assert len({c["trace_id"] for c in clients}) == REQUESTS


def test_probed_functions_between(spanhound, pool, tmp_path):
    """The taking function's own span, and those below it, belong to the request; what they ask for is theirs."""
    text = LIST.format(to="run_job", key="{at: 2}") + "probes:\n  - function: [run_job, ask_upstream]\n"
    result = traced(spanhound, tmp_path, *pool, text)
    servers, clients = by_kind(result)
    spans = {s["span_id"]: s for s in result.spans}
    own = {ident(s): s for s in servers}
    assert len(clients) == REQUESTS
    for c in clients:
        asked = spans[c["parent_id"]]
        ran = spans[asked["parent_id"]]
        assert (asked["name"], ran["name"]) == ("ask_upstream", "run_job")
        assert ran["parent_id"] == own[ident(c)]["span_id"], (c, asked, ran)


def test_mistakes(pool, tmp_path):
    path = tmp_path / "list.yaml"
    path.write_text("handoffs:\n  - {from: give_jobs, to: [take_job, take_?], key: {at: 1}}\n"
                    "  - {from: SSL_read, to: SSL_write, key: {at: 1}, library: libssl.so*}\n")
    status, _, err = spanhound_once("attach", "--pid", pool[0], "-c", path)
    assert status == 2
    assert f"{path}:2:12: error: no function 'give_jobs' in handoff; did you mean give_job?" in err
    assert f"{path}:2:38: error: no function 'take_?' in handoff" in err
    assert f"{path}:3:60: error: no chosen process has loaded a library 'libssl.so*'" in err
    assert err.count("error:") == 3
