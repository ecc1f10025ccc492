# SPDX-License-Identifier: Apache-2.0
"""spanhound context: what a running spanhound says of threads agrees with the spans that it reports later."""
import json
import os
import subprocess
import sys
import threading
import urllib.request

import pytest

import harness
from harness import wait_for
from test_http import go_server, servers  # noqa: F401 (a fixture)

# Each request stays in its handler until standard input says "go"; /nap in a function of libc.
SERVER = """
import http.server, sys, threading, time
go = threading.Event()

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path.startswith("/nap"):
            while not go.is_set():
                time.sleep(0.05)
        if self.path.startswith("/wait"):
            go.wait()
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    do_POST = do_GET
    def log_message(self, *_):
        pass

class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 64

server = Server(("127.0.0.1", 0), Handler)
threading.Thread(target=lambda: (sys.stdin.readline(), go.set()), daemon=True).start()
print(server.server_address[1], flush=True)
server.serve_forever()
"""
TRACE, PARENT = "0123456789abcdef0123456789abcdef", "00f067aa0ba902b7"

GO_SERVER = """
package main

import (
	"net/http"
	"os"
)

func main() {
	release := make(chan bool)
	http.HandleFunc("/wait", func(w http.ResponseWriter, r *http.Request) {
		q, _ := http.NewRequest("GET", "http://127.0.0.1:"+os.Args[2]+"/none", nil)
		http.DefaultClient.Do(q)
		<-release
	})
	http.HandleFunc("/go", func(w http.ResponseWriter, r *http.Request) { close(release) })
	http.ListenAndServe("127.0.0.1:"+os.Args[1], nil)
}
"""


def context(*arguments, status=0):
    r = subprocess.run([harness.BINARY, "context", *map(str, arguments)], capture_output=True, text=True,
                       timeout=harness.PATIENCE_S, env={**os.environ, "COLUMNS": "400"})
    assert r.returncode == status, (r.stdout, r.stderr)
    return r.stdout if status == 0 else r.stderr


class Asked:
    """Requests of threads of their own, which wait for their answers."""

    def __init__(self, port):
        self.port, self.threads, self.answers = port, [], []

    def ask(self, path, **headers):
        t = threading.Thread(target=self._ask, args=(path, headers), daemon=True)
        t.start()
        self.threads.append(t)

    def _ask(self, path, headers):
        q = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers)
        with urllib.request.urlopen(q, timeout=harness.PATIENCE_S) as f:
            self.answers.append(f.read())

    def join(self):
        for t in self.threads:
            t.join()
        assert self.answers == [b"ok"] * len(self.threads)


class Traced:
    """The server, and the spanhound that is asked about it."""

    def __init__(self, background, spanhound, tmp, *arguments, command="attach"):
        self.server = background(sys.executable, "-c", SERVER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self.server.pid
        self.port = int(self.server.stdout.readline())
        self.path = os.path.join(str(tmp), "control.sock")
        if command == "attach":
            self.s = spanhound("--pid", self.pid, "--control", self.path, *arguments)
        else:
            config = harness.write(tmp, "config.yaml", f"targets:\n  - pid: {self.pid}\ncontrol: {{socket: {self.path}}}\n")
            self.s = spanhound("-c", config, command=command)

    def go(self):
        self.server.stdin.write("go\n")
        self.server.stdin.flush()

    def now(self):
        """All threads, and those that are in something, by path."""
        p, = json.loads(context("--pid", self.pid, "--socket", self.path, "--json"))["processes"]
        assert p["pid"] == self.pid
        return p["contexts"], {c["request"]["path"]: c for c in p["contexts"] if "request" in c}

    def wait(self, *paths):
        return wait_for(lambda: (lambda got: got if set(got) == set(paths) else None)(self.now()[1]), f"{paths}")


def check_span(c, span):
    assert (c["trace_id"], int(c["span_id"], 16)) == (span["trace_id_128"], span["span_id"])
    assert (int(c["dd_trace_id"]), int(c["dd_span_id"])) == (span["trace_id"], span["span_id"])
    assert c["settled"] is True
    # Each is the kernel's time and what the clocks differed by when it was said.
    assert abs(c["start"] - span["start"]) < 50_000_000, (c, span)


@pytest.mark.parametrize("command", ["attach", "serve"])
def test_requests(spanhound, background, tmp_path, command):
    t = Traced(background, spanhound, tmp_path, command=command)
    asked = Asked(t.port)
    asked.ask("/wait/a?token=secret")
    asked.ask("/wait/b", traceparent=f"00-{TRACE}-{PARENT}-01")
    got = t.wait("/wait/a", "/wait/b")
    threads, _ = t.now()
    assert {c["tid"] for c in threads} == set(map(int, os.listdir(f"/proc/{t.pid}/task")))
    assert all(c["name"] for c in threads)
    assert "trace_id" not in next(c for c in threads if c["tid"] == t.pid), "the first thread only accepts"
    assert got["/wait/b"]["trace_id"] == TRACE and got["/wait/b"]["settled"]
    assert got["/wait/a"]["trace_id"] != TRACE and got["/wait/a"]["request"]["method"] == "GET"
    table = context("--pid", t.pid, "--socket", t.path)
    line = next(x for x in table.splitlines() if "GET /wait/b" in x).split()
    assert line[0] == str(got["/wait/b"]["tid"]) and line[-3:] == \
        [TRACE, got["/wait/b"]["dd_trace_id"], got["/wait/b"]["dd_span_id"]]
    assert "secret" not in table
    # Asking changes nothing: they are the same again.
    assert {p: (c["tid"], c["span_id"]) for p, c in t.now()[1].items()} == \
        {p: (c["tid"], c["span_id"]) for p, c in got.items()}
    t.go()
    asked.join()
    wait_for(lambda: not t.now()[1], "the end of both requests")
    assert not [c for c in t.now()[0] if "trace_id" in c]
    r = t.s.stop()
    assert r.summary["seen"] == 2
    spans = {s["meta"]["http.url"].split("?")[0].rsplit(":", 1)[1].split("/", 1)[1]: s for s in r.spans}
    for path, c in got.items():
        check_span(c, spans[path[1:]])
    assert spans["wait/b"]["parent_id"] == int(PARENT, 16)


def test_function(spanhound, background, tmp_path):
    """The innermost open call, and whose request it is of."""
    t = Traced(background, spanhound, tmp_path, "-f", "libc.so*:clock_nanosleep")
    asked = Asked(t.port)
    asked.ask("/nap")
    c = wait_for(lambda: next((c for c in t.now()[0] if "function" in c and "request" in c), None), "a call")
    assert c["function"] == "clock_nanosleep" and c["request"]["path"] == "/nap", c
    assert c["start"] >= c["request"]["start"]
    t.go()
    asked.join()
    r = t.s.stop()
    span = next(s for s in r.spans if s["span_id"] == int(c["span_id"], 16))
    check_span(c, span)
    assert span["resource"] == "clock_nanosleep"


@pytest.mark.soak
def test_goroutines(spanhound, background, servers, tmp_path):  # noqa: F811
    """Threads of a Go program run whichever goroutine is ready: what is served belongs to these."""
    g = servers(lambda tmp, port: go_server(tmp, port, 9, GO_SERVER))
    path = str(tmp_path / "control.sock")
    s = spanhound("--pid", g.process.pid, "--control", path)
    asked = threading.Thread(target=lambda: urllib.request.urlopen(g.url + "/wait", timeout=harness.PATIENCE_S).read(), daemon=True)
    asked.start()

    def serving():
        p, = json.loads(context("--pid", g.process.pid, "--socket", path, "--json"))["processes"]
        return [c for c in p["contexts"] if "goroutine" in c]

    c, = wait_for(serving, "a goroutine")
    assert c["goroutine"] > 0 and c["request"]["path"] == "/wait" and "tid" not in c
    assert f"goroutine {c['goroutine']} " in context("--pid", g.process.pid, "--socket", path)
    urllib.request.urlopen(g.url + "/go", timeout=harness.PATIENCE_S).read()
    asked.join()
    wait_for(lambda: not serving(), "its end")
    r = s.stop()
    check_span(c, next(x for x in r.spans if x["meta"]["http.url"].endswith("/wait")))


def test_asked_under_load(spanhound, background, tmp_path):
    """Whatever is said is whole: a span's ids are those of one request; and nothing is lost for it."""
    t = Traced(background, spanhound, tmp_path)
    end, said = threading.Event(), {}

    def load(n):
        while not end.is_set():
            with urllib.request.urlopen(f"http://127.0.0.1:{t.port}/r/{n}", timeout=harness.PATIENCE_S) as f:
                assert f.read() == b"ok"

    clients = [threading.Thread(target=load, args=(n,), daemon=True) for n in range(4)]
    for c in clients:
        c.start()
    for _ in range(100 if harness.SOAK else 12):
        for c in t.now()[0]:
            if "request" in c and c["settled"]:
                said[int(c["span_id"], 16)] = c
    end.set()
    for c in clients:
        c.join()
    r = t.s.stop()
    spans = {s["span_id"]: s for s in r.spans}
    for span_id, c in said.items():
        check_span(c, spans[span_id])
        assert c["request"]["path"] in spans[span_id]["meta"]["http.url"]


def test_mistakes(spanhound, background, tmp_path):
    t = Traced(background, spanhound, tmp_path)
    gone = background("true")
    gone.wait()
    here = ("--socket", t.path)
    err = context("--pid", gone.pid, *here, status=2)
    assert f"there is no process {gone.pid}" in err
    err = context("--pid", os.getpid(), *here, status=2)
    assert f"process {os.getpid()} is not traced" in err and f"spanhound ps --pid {os.getpid()}" in err
    asked = Asked(t.port)
    asked.ask("/wait")
    tid = t.wait("/wait")["/wait"]["tid"]
    err = context("--pid", tid, *here, status=2)
    assert f"{tid} is a thread of process {t.pid}" in err
    # What can be said of one process is, whatever the others are.
    p = subprocess.run([harness.BINARY, "context", "--json", "--pid", f"{gone.pid},{t.pid}", *here], capture_output=True,
                       text=True, timeout=harness.PATIENCE_S)
    assert p.returncode == 2 and [x["pid"] for x in json.loads(p.stdout)["processes"]] == [t.pid]
    none = str(tmp_path / "none.sock")
    err = context("--pid", t.pid, "--socket", none, status=1)
    assert f"cannot ask {none}: No such file" in err and "spanhound serve" in err and f"--control {none}" in err
    assert "--pid N" in context(status=2)
    assert "is no option" in context("4711", status=2)
    # Where somebody answers already, nobody else listens.
    s = harness.spanhound_once("attach", "--pid", str(t.pid), "--control", t.path, "--duration", "1s")
    assert s[0] == 2 and t.path in s[2], s
    for words, what in (("status", "context, flush"), ("context", "context PID"), ("context x", "context PID"), ("context 0", "context PID")):
        p = subprocess.run([harness.BINARY, "ctl", *here, *words.split()], capture_output=True, text=True, timeout=harness.PATIENCE_S)
        assert p.returncode == 2 and what in p.stderr, (words, p)
    t.go()
    asked.join()
    t.s.stop()
    assert not os.path.exists(t.path)
