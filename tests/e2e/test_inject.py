# SPDX-License-Identifier: Apache-2.0
"""Trace context put into requests on the wire: byte for byte what arrives, against what was sent plus one block of headers."""
import hashlib
import json
import re
import signal
import socket
import subprocess
import sys
import threading

import pytest

import harness
import web
from agents import free_port
from harness import PATIENCE_S, target_environment, wait_for
from test_control import Daemon

BLOCK = re.compile(rb"(?:baggage: (?P<baggage>[^\r]*)\r\n)?"
                   rb"x-datadog-trace-id: (?P<id>[1-9][0-9]*)\r\nx-datadog-parent-id: (?P<parent>[1-9][0-9]*)\r\n"
                   rb"x-datadog-sampling-priority: (?P<priority>-?[0-9])\r\n(?:x-datadog-origin: (?P<origin>[^\r]*)\r\n)?"
                   rb"(?:x-datadog-tags: (?P<tags>[^\r]*)\r\n)?"
                   rb"traceparent: 00-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>0[0-3])\r\n"
                   rb"tracestate: dd=p:(?P=span);s:(?P=priority)(?P<dd>[^,\r]*)(?:,(?P<state>[^\r]*))?\r\n")


class Receiver:
    """Keeps the bytes of each connection as they come, and answers each request with a digest of its body."""

    def __init__(self, family=socket.AF_INET):
        self.listener = socket.create_server(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0), family=family)
        self.port = self.listener.getsockname()[1]
        self.streams = []  # of each connection, in the order they came
        self.errors = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                c, _ = self.listener.accept()
            except OSError:
                return
            stream = bytearray()
            self.streams.append(stream)
            threading.Thread(target=self._serve, args=(c, stream), daemon=True).start()

    def _serve(self, c, stream):
        at = 0
        with c:
            while True:
                end = stream.find(b"\r\n\r\n", at)
                length = re.search(rb"(?i)\r\ncontent-length: *([0-9]+)", stream[at:end]) if end >= 0 else None
                whole = end + 4 + (int(length[1]) if length else 0)
                if end < 0 or len(stream) < whole:
                    try:
                        data = c.recv(65536)
                    except OSError as e:
                        self.errors.append(e)
                        return
                    if not data:
                        return
                    stream += data
                    continue
                answer = hashlib.sha256(stream[end + 4:whole]).hexdigest().encode() * 64
                at = whole
                try:
                    c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))
                except OSError as e:
                    # It did not wait for all answers; what it sent before is there nevertheless.
                    self.errors.append(e)
                    self._rest(c, stream)
                    return

    @staticmethod
    def _rest(c, stream):
        try:
            while data := c.recv(65536):
                stream += data
        except OSError:
            pass

    @property
    def all(self):
        return b"".join(bytes(s) for s in self.streams)

    def close(self):
        self.listener.close()


@pytest.fixture
def receiver():
    made = []

    def start(*args):
        made.append(Receiver(*args))
        return made[-1]
    yield start
    for r in made:
        r.close()


class Client:
    """A Python program that runs what is written after each "go". Its sockets have a timeout if it does not say otherwise: those without
    one get no header (test_inject_blocking.py)."""
    BEGIN = """import socket, sys
socket.setdefaulttimeout({timeout})
def wait():
    assert sys.stdin.readline()
wait()
"""

    def __init__(self, background, text, *args, env=None, prefix=(), executable=sys.executable, timeout=60):
        self.process = background(*prefix, executable, "-c", self.BEGIN.format(timeout=timeout) + text,
                                  *map(str, args), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                  env=target_environment(env))
        self.pid = self.process.pid

    def go(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self

    def line(self):
        return self.process.stdout.readline().strip()

    def finish(self):
        out, _ = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 0
        return out


def blocks(stream):
    return list(BLOCK.finditer(stream))


def check_blocks(found, spans):
    """The headers name the client spans that were reported: all of them, each once."""
    told = {(int(m["trace"], 16), int(m["span"], 16)) for m in found}
    assert len(told) == len(found)
    assert told == {(int(s["trace_id_128"], 16), s["span_id"]) for s in spans}
    for m in found:
        assert int(m["id"]) == int(m["trace"], 16) & (1 << 64) - 1 and int(m["parent"]) == int(m["span"], 16)
        assert (b"_dd.p.tid=" + m["trace"][:16]) in m["tags"].split(b",")


def clients(result):
    return [s for s in result.spans if s["meta"].get("span.kind") == "client"]


def need_inject(result):
    inject = result.summary["inject"]
    if not inject["on"]:
        pytest.skip(inject["why_not"])
    return inject


HTTP_CLIENT = """
import http.client
host, port, cnt = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
c = http.client.HTTPConnection(host, port)
for i in range(cnt):
    body = b"GET / HTTP/1.1\\r\\n\\r\\n" * (i % 3)
    c.request("POST" if body else "GET", f"/{i}", body=body or None)
    r = c.getresponse()
    r.read()
    assert r.status == 200
"""


def test_shown(spanhound, background, receiver, tmp_path):
    """Who would get headers and who would not, and why, by `ps`; what a daemon did, in its status and metrics."""
    r = receiver()
    c = Client(background, HTTP_CLIENT, "127.0.0.1", r.port, 7)
    other = background("sleep", "1000")
    status, out, err = harness.spanhound_once("ps", "--inject", "--pid", f"{c.pid},{other.pid}", "--json")
    assert status == 0, err
    rows = {x["pid"]: x for x in json.loads(out)["processes"]}
    d = Daemon(spanhound, tmp_path, c.pid, "propagation: {inject: auto}\n", probes="  - {function: is_not_there, optional: true}\n")
    c.go().finish()
    wait_for(lambda: d.metrics().get(("spanhound_injection_requests_total", "done"), 7) == 7, "headers to be counted")
    m, state = d.metrics(), json.loads(d.ctl("status"))["inject"]
    inject = need_inject(d.s.stop(signal.SIGTERM))
    assert rows[c.pid]["headers"] == "plain" and not rows[c.pid]["headers_why"]
    if "FIONREAD" in inject["plain_lacks"]:
        assert rows[other.pid]["headers"] == "none" and "not known" in rows[other.pid]["headers_why"]
    assert len(blocks(r.all)) == 7 and state["reasons"]["done"] == 7 and state["on"]
    assert m[("spanhound_injection_requests_total", "done")] == 7 and m[("spanhound_injection_requests_total", "partial")] == 0
    assert m[("spanhound_injection_connections_total",)] == 1 and m[("spanhound_injection_processes_turned_total",)] == 0


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
def test_keepalive(spanhound, background, receiver, family):
    r = receiver(family)
    host = r.listener.getsockname()[0]
    c = Client(background, HTTP_CLIENT, host, r.port, 30)
    s = spanhound("--pid", c.pid, "--inject")
    c.go().finish()
    result = s.stop()
    inject = need_inject(result)
    name = f"[{host}]" if ":" in host else host
    plain = b"".join(
        b"%s /%d HTTP/1.1\r\nHost: %s:%d\r\nAccept-Encoding: identity\r\n%s\r\n%s" %
        (b"POST" if i % 3 else b"GET", i, name.encode(), r.port, b"Content-Length: %d\r\n" % (18 * (i % 3)) if i % 3 else b"",
         b"GET / HTTP/1.1\r\n\r\n" * (i % 3)) for i in range(30))
    assert BLOCK.sub(b"", r.all) == plain
    for m in blocks(r.all):
        assert r.all[:m.start()].endswith(b" HTTP/1.1\r\n")
    assert inject["reasons"]["done"] == 30 and inject["enrolled"] == 1
    check_blocks(blocks(r.all), clients(result))


def test_curl(spanhound, receiver):
    """From the first instruction on."""
    r = receiver()
    urls = [f"http://127.0.0.1:{r.port}/{i}" for i in range(20)]
    s = spanhound("--inject", command="run", after=("--", "/usr/bin/curl", "-s", *urls), wait_ready=False)
    result = s.result()
    need_inject(result)
    assert len(r.streams) == 1 and len(clients(result)) == 20
    check_blocks(blocks(r.all), clients(result))


def test_by_target(spanhound, background, receiver, tmp_path):
    """A target's own word comes before that of all, --inject and what is the standard."""
    words = ["off", "auto", None, "verdict"]
    for command, options, want in (("serve", (), [False, True, False, True]), ("serve", ("--inject",), [False, True, True, True]),
                                   ("attach", (), [False, True, True, True])):
        receivers = [receiver() for _ in words]
        made = [Client(background, HTTP_CLIENT, "127.0.0.1", r.port, 3) for r in receivers]
        path = harness.write(str(tmp_path), "targets.yaml", "targets:\n" + "".join(
            f"- pid: {c.pid}\n" + (f"  propagation: {{inject: {w}}}\n" if w else "") for c, w in zip(made, words)))
        s = spanhound("-c", path, *options, command=command)
        for c in made:
            c.go()
        for c in made:
            c.finish()
        result = s.stop()
        need_inject(result)
        assert [len(blocks(r.all)) for r in receivers] == [3 * w for w in want]


RAW = """
import socket
c = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
for part in eval(sys.argv[2]):
    c.sendall(part) if part else c.recv(1 << 20)
"""
HOST = b"Host: a\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
LEFT_ALONE = {
    "partial": ([b"GET / HTTP/1.1\r\n", HOST + b"\r\n", None], "partial"),
    "bytes": ([bytes([b]) for b in GET] + [None], "partial"),
    "no_end": ([b"GET / HTTP/1.1\r\nA: " + b"x" * 4096 + b"\r\n\r\n", None], "partial"),
    "pipelined": ([GET * 2, None], "pipelined"),
    "upgrade": ([b"GET / HTTP/1.1\r\n" + HOST + b"Upgrade: websocket\r\nConnection: upgrade\r\n\r\n", None, b"\x81\x05hello"],
                "upgrade"),
    "connect": ([b"CONNECT a:80 HTTP/1.1\r\n" + HOST + b"\r\n", None, GET, None], "upgrade"),
    "folded": ([b"GET / HTTP/1.1\r\n" + HOST + b"A: b\r\n c\r\n\r\n", None], "strange"),
    "feeds": ([b"GET / HTTP/1.1\n" + HOST + b"\r\n\r\n", None], "strange"),
    "carries_w3c": ([b"GET / HTTP/1.1\r\n" + HOST + b"TraceParent: 00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01\r\n\r\n", None], "carries"),
    "carries_b3": ([b"GET / HTTP/1.1\r\n" + HOST + b"B3: 0\r\n\r\n", None], "carries"),
    "large": ([b"POST / HTTP/1.1\r\nContent-Length: 20000\r\n\r\n" + b"x" * 20000, None], "large"),
    "tls": ([b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4" + bytes(200), GET], None),
    "http2": ([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(30), GET], None),
}


def test_left_alone(spanhound, background, receiver):
    """What is not one whole understood head passes as it is, and is counted."""
    left = {}
    for case, (parts, reason) in LEFT_ALONE.items():
        r = receiver()
        left[case] = r, Client(background, RAW, r.port, repr(parts))
    s = spanhound(*(a for _, c in left.values() for a in ("--pid", c.pid)), "--inject")
    for _, c in left.values():
        c.go()
    for case, (r, c) in left.items():
        c.finish()
    result = s.stop()
    inject = need_inject(result)
    for case, (r, _) in left.items():
        want = b"".join(p for p in LEFT_ALONE[case][0] if p)
        wait_for(lambda: len(r.all) >= len(want), f"all bytes of {case}")
        assert r.all == want, case
    for reason in {reason for _, reason in LEFT_ALONE.values() if reason}:
        assert inject["reasons"].get(reason), (reason, inject)
    assert "done" not in inject["reasons"], inject


def test_bodies_that_look_like_requests(spanhound, background, receiver):
    """After 100 Continue, or an answer that comes too early, a body goes on; one whose end is not known never ends."""
    r = receiver()
    early = [b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(GET), GET, None, GET, None]
    chunked = [b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", None, GET, None, GET, None]
    a, b = Client(background, RAW, r.port, repr(early)), Client(background, RAW, r.port, repr(chunked))
    s = spanhound("--pid", a.pid, "--pid", b.pid, "--inject")
    a.go().finish()
    b.go().finish()
    result = s.stop()
    inject = need_inject(result)
    assert BLOCK.sub(b"", r.streams[0]) == b"".join(p for p in early if p)
    assert [m.start() for m in blocks(r.streams[0])][0] == len(b"POST / HTTP/1.1\r\n") and len(blocks(r.streams[0])) == 2
    assert BLOCK.sub(b"", r.streams[1]) == b"".join(p for p in chunked if p)
    assert len(blocks(r.streams[1])) == 1 and inject["reasons"]["done"] == 3


GATEWAY = """
import http.client, http.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        c = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
        c.request("GET", "/inner" + self.path)
        body = c.getresponse().read()
        c.close()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
s = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(s.server_port, flush=True)
s.serve_forever()
"""
INCOMING = [
    ("x-datadog-trace-id: 11803532876627986230\r\nx-datadog-parent-id: 67667974448284343\r\nx-datadog-sampling-priority: 2\r\n"
     "x-datadog-tags: _dd.p.dm=-4,_dd.p.tid=6b01f95000000000\r\n", "6b01f95000000000a3ce929d0e0e4736", b"2", b"01"),
    ("traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\r\n", "0af7651916cd43dd8448eb211c80319c", b"0", b"00"),
    ("x-datadog-trace-id: 77\r\nx-datadog-parent-id: 5\r\nx-datadog-sampling-priority: -1\r\n", f"{77:032x}", b"-1", b"00"),
]


def test_continues(spanhound, background, receiver):
    """A trace that comes in goes on over the wire: the same trace id and decision, and the span of the request it is in."""
    r = receiver()
    server = Client(background, GATEWAY, r.port).go()
    port = int(server.line())
    s = spanhound("--pid", server.pid, "--inject")
    for i, (headers, *_) in enumerate(INCOMING):
        with socket.create_connection(("127.0.0.1", port)) as c:
            c.sendall(f"GET /{i} HTTP/1.1\r\nHost: a\r\n{headers}\r\n".encode())
            assert c.recv(1 << 16).startswith(b"HTTP/1.1 200")
    result = s.stop()
    need_inject(result)
    for i, (_, trace, priority, flags) in enumerate(INCOMING):
        m = blocks(bytes(r.streams[i]))[0]
        client, = (x for x in clients(result) if x["resource"].endswith(f"/{i}") or f"/inner/{i}" in x["meta"]["http.url"])
        server_span, = (x for x in result.spans if x["span_id"] == client["parent_id"])
        assert m["trace"].decode() == trace == client["trace_id_128"] == server_span["trace_id_128"]
        assert int(m["span"], 16) == client["span_id"]
        assert m["priority"] == priority and m["flags"] == flags


def test_adopted(spanhound, background, receiver):
    """A program that writes headers of its own: its client span is the one they name, and they pass as they are."""
    r = receiver()
    own = GATEWAY.replace('"/inner" + self.path)', '"/inner" + self.path, headers={"traceparent": self.path[1:]})')
    assert own != GATEWAY
    server = Client(background, own, r.port).go()
    port = int(server.line())
    s = spanhound("--pid", server.pid, "--inject")
    incoming = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    sent = {
        incoming.replace("b7ad6b7169203331", "00000000000000aa"): "adopted",
        f"00-{5:032x}-00000000000000bb-01": "adopted",  # another trace
        incoming: "thread",  # handed on
    }
    for header in sent:
        with socket.create_connection(("127.0.0.1", port)) as c:
            c.sendall(f"GET /{header} HTTP/1.1\r\nHost: a\r\ntraceparent: {incoming}\r\n\r\n".encode())
            assert c.recv(1 << 16).startswith(b"HTTP/1.1 200")
    result = s.stop()
    inject = need_inject(result)
    for stream, (header, link) in zip(r.streams, sent.items()):
        client, = (x for x in clients(result) if header in x["meta"]["http.url"])
        server_span, = (x for x in result.spans if x["meta"].get("span.kind") == "server" and header in x["meta"]["http.url"])
        assert client["meta"]["spanhound.link"] == link
        arrived, = re.findall(rb"traceparent: (\S+)\r\n", bytes(stream))
        version, trace, span, flags = arrived.decode().split("-")
        assert client["trace_id_128"] == trace and client["span_id"] == int(span, 16)
        assert client["parent_id"] == (server_span["span_id"] if trace == incoming[3:35] else 0)
        assert (arrived.decode() == header) == (link == "adopted")
    assert inject["reasons"] == {"carries": 2, "replaced": 1}


def test_unsure(spanhound, background, receiver):
    """What is served cannot be told for certain: nothing is said about it."""
    r = receiver()
    server = Client(background, GATEWAY, r.port).go()
    port = int(server.line())
    s = spanhound("--pid", server.pid, "--inject")
    for headers in ("x-datadog-trace-id: +5\r\n", "x-datadog-trace-id: 5\r\nx-datadog-tags: _dd.p.tid=5\r\n",
                    "A: " + "x" * 3000 + "\r\n"):
        with socket.create_connection(("127.0.0.1", port)) as c:
            c.sendall(f"GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n".encode())
            assert c.recv(1 << 16).startswith(b"HTTP/1.1 200")
    inject = need_inject(s.stop())
    assert not blocks(r.all) and inject["reasons"] == {"unsure": 3}


LOAD = """
import hashlib, http.client, threading
port, threads, cnt = (int(a) for a in sys.argv[1:4])
warm = threading.Barrier(threads + 1)
done, goal = [0] * threads, [None] * threads
def work(n):
    c = http.client.HTTPConnection("127.0.0.1", port)
    while goal[n] is None or done[n] < goal[n]:
        body = bytes([done[n] & 255, n]) * (done[n] * 37 % 3000)
        c.request("POST", f"/{n}/{done[n]}", body=body)
        r = c.getresponse()
        assert r.status == 200 and r.read() == hashlib.sha256(body).hexdigest().encode() * 64
        assert c.sock
        done[n] += 1
        if done[n] == cnt:
            warm.wait()
workers = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
for w in workers:
    w.start()
warm.wait()
print("warm", flush=True)
wait()
for n in range(threads):
    goal[n] = done[n] + cnt
for w in workers:
    w.join()
assert all(d >= g for d, g in zip(done, goal))
print("right", flush=True)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["stop", "kill"])
def test_detach(spanhound, background, receiver, how):
    """Connections go on, no byte is lost, and no header is written any more."""
    r = receiver()
    c = Client(background, LOAD, r.port, 4, 50)
    s = spanhound("--pid", c.pid, "--inject")
    c.go()
    assert c.line() == "warm"
    objects = harness.kernel_objects_of(s.pid)
    if how == signal.SIGKILL:
        s.kill()
    else:
        need_inject(s.stop())
    wait_for(lambda: harness.are_gone(objects), "the kernel half to be gone")
    before = [len(x) for x in r.streams]
    c.go()
    assert c.finish().strip() == "right"
    assert not r.errors and len(r.streams) == 4
    assert sum(len(blocks(bytes(x))) for x in r.streams) >= 4 * 50
    for stream, at in zip(r.streams, before):
        first = stream.find(b"POST /", at)
        assert first >= 0 and b"traceparent" not in stream[first:]


PROXY = """
location / {{ proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host a; }}
"""


class Large(Receiver):
    """Answers with 135 KB: more than nginx's buffers take at once."""
    SZ = 135_000

    def _serve(self, c, stream):
        at = 0
        with c:
            while True:
                end = stream.find(b"\r\n\r\n", at)
                if end < 0:
                    try:
                        data = c.recv(65536)
                    except OSError:
                        return
                    if not data:
                        return
                    stream += data
                    continue
                at = end + 4
                c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self.SZ + self.body())

    @classmethod
    def body(cls):
        return (b"0123456789abcde\n" * (cls.SZ // 16 + 1))[:cls.SZ]


def proxy(tmp_path, made, port, env=None):
    n = web.nginx(str(tmp_path), free_port(), PROXY.format(), f"upstream up {{ server 127.0.0.1:{port}; keepalive 8; }}", env=env)
    made.append(n)
    return n


@pytest.fixture
def nginx(tmp_path):
    made = []
    yield lambda port, env=None: proxy(tmp_path, made, port, env)
    for n in made:
        n.stop()


def fetch(c, headers=""):
    """One response of a kept connection, or what came of it until the time was over."""
    c.sendall(f"GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n".encode())
    got = b""
    while b"\r\n\r\n" not in got or len(got) - got.index(b"\r\n\r\n") - 4 < Large.SZ:
        try:
            data = c.recv(65536)
        except TimeoutError:
            break
        if not data:
            break
        got += data
    return got.partition(b"\r\n\r\n")[2]


def in_mode(tmp_path, mode):
    """Options that take the user's word for it."""
    return "-c", harness.write(str(tmp_path), f"{mode}.yaml", f"propagation: {{inject: {mode}}}\n")


@pytest.mark.parametrize("mode", ["auto", "verdict"])
def test_proxy(spanhound, nginx, tmp_path, mode):
    """nginx asks how much there is to read, which sockets in a map of the plain kind do not say on some kernels: it is left alone
    there. With a verdict program, which a user has to ask for, they do."""
    r = Large()
    n = nginx(r.port)
    s = spanhound(*in_mode(tmp_path, mode), "--pid", ",".join(map(str, n.tree())))
    with socket.create_connection(("127.0.0.1", n.port), timeout=PATIENCE_S) as c:
        for _ in range(20):
            assert fetch(c) == Large.body()
    result = s.stop()
    inject = need_inject(result)
    r.close()
    if mode == "auto" and "FIONREAD" in inject["plain_lacks"]:
        assert inject["processes"]["no_mode"] == 1 and not blocks(r.all)
    else:
        assert inject["reasons"] == {"done": 20}
        check_blocks(blocks(r.all), clients(result))


def test_guard(spanhound, nginx, tmp_path):
    """Taken for safe by a user's word, nginx asks what such sockets answer wrongly: it would wait for ever for the rest of a response.
    It is taken out at once, and gets the rest."""
    r = Large()
    n = nginx(r.port)
    s = spanhound(*in_mode(tmp_path, "plain"), "--pid", ",".join(map(str, n.tree())))
    with socket.create_connection(("127.0.0.1", n.port), timeout=PATIENCE_S) as c:
        for _ in range(10):
            assert fetch(c) == Large.body()
    result = s.stop()
    inject = need_inject(result)
    r.close()
    if "FIONREAD" not in inject["plain_lacks"]:
        assert inject["processes"]["turned"] == 0 and inject["reasons"] == {"done": 10}
        return
    assert inject["processes"]["turned"] == 1 and inject["withdrawn"] == 1 and len(blocks(r.all)) == 1
    assert "uses FIONREAD" in result.stderr and len(r.streams) == 1


def test_forwarded(spanhound, nginx, tmp_path):
    """nginx hands on its caller's headers: they come to name its own span, and nothing else of the message changes."""
    r = Large()
    n = nginx(r.port)
    s = spanhound(*in_mode(tmp_path, "verdict"), "--pid", ",".join(map(str, n.tree())))
    headers = ("x-datadog-trace-id: 11803532876627986230\r\nx-datadog-parent-id: 1667667974448284343\r\n"
               "traceparent: 00-0000000000000000a3ce929d0e0e4736-1724b9cf4d1e02b7-01\r\n")
    headers = headers.replace("1724b9cf4d1e02b7", f"{1667667974448284343:016x}")
    with socket.create_connection(("127.0.0.1", n.port), timeout=PATIENCE_S) as c:
        for h in (headers, headers.split("traceparent")[0], "traceparent" + headers.split("traceparent")[1]):
            assert fetch(c, h) == Large.body()
    result = s.stop()
    inject = need_inject(result)
    assert inject["reasons"] == {"replaced": 3}
    heads = r.all.split(b"\r\n\r\n")[:3]
    ids = {c["span_id"] for c in clients(result)}
    assert len(ids) == 3 and {c["trace_id"] for c in clients(result)} == {11803532876627986230}
    for head, (decimal, w3c) in zip(heads, ((1, 1), (1, 0), (0, 1))):
        named = [int(x) for x in re.findall(rb"x-datadog-parent-id: ([0-9]{19})\r?", head + b"\r")]
        named += [int(x, 16) for x in re.findall(rb"traceparent: 00-[0-9a-f]{32}-([0-9a-f]{16})-01", head)]
        assert len(named) == decimal + w3c and len(set(named)) == 1 and named[0] in ids
        ids.remove(named[0])


READERS = {
    # What the mode for such programs has to carry, with a body that comes in pieces.
    "waitall": "c.recv(sz, socket.MSG_WAITALL)",
    "peek": "(c.recv(5000, socket.MSG_PEEK | socket.MSG_WAITALL), c.recv(sz, socket.MSG_WAITALL))[1]",
    "splice": "splice(sz)",
}
READER = """
import os, socket
c = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
sz, how = int(sys.argv[2]), sys.argv[3]
def splice(sz):
    r, w = os.pipe()
    got = b""
    while len(got) < sz:
        n = os.splice(c.fileno(), w, sz - len(got))
        got += os.read(r, n)
    return got
for i in range(20):
    c.sendall(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
    head = b""
    while not head.endswith(b"\\r\\n\\r\\n"):
        head += c.recv(1)
    body = eval(how)
    assert body == (b"0123456789abcde\\n" * (sz // 16 + 1))[:sz], len(body)
print("right")
"""


def test_readers(spanhound, background, tmp_path):
    """What Python may do on a socket beyond reading is right in plain mode; with calls that wait by a user's word."""
    r = Large()
    readers = [Client(background, READER, r.port, Large.SZ, how, timeout=None) for how in READERS.values()
               if how != READERS["splice"] or hasattr(__import__("os"), "splice")]
    s = spanhound(*in_mode(tmp_path, "plain"), "--pid", ",".join(str(c.pid) for c in readers))
    for c in readers:
        c.go()
    for c in readers:
        assert c.finish().strip() == "right"
    inject = need_inject(s.stop())
    assert inject["reasons"] == {"done": 20 * len(readers)}
    r.close()


ELSEWHERE = """
import socket
for host in eval(sys.argv[2]):
    with socket.create_connection((sys.argv[1], int(sys.argv[3]))) as c:
        c.sendall(b"GET / HTTP/1.1\\r\\n" + host + b"A: b\\r\\n\\r\\n")
        c.recv(1 << 20)
"""
# The Host header of each request, and whether it gets a header of ours.
HOSTS = {
    b"Host: api.example.com\r\n": False,
    b"hOST:API.Example.COM.:8080 \r\n": False,
    b"Host: xapi.example.com\r\n": True,
    b"Host: pi.example.com\r\n": True,
    b"Host: a.b.internal:80\r\n": False,
    b"Host: internal\r\n": True,
    b"Host: internal.com\r\n": True,
    b"Host: [::1]:80\r\n": True,
    b"Host: " + b"a" * 300 + b".internal\r\n": False,
    # Of whom nobody can say.
    b"": False,
    b"Host: \r\n": False,
    b"Host: a\r\nHost: api.example.com\r\n": False,
}


def test_exclude_hosts(spanhound, background, receiver, tmp_path):
    """No header goes where none is to go: by the name the request has, for all and for one target."""
    r, other = receiver(), receiver()
    c = Client(background, ELSEWHERE, "127.0.0.1", repr(list(HOSTS)), r.port)
    d = Client(background, ELSEWHERE, "127.0.0.1", repr(list(HOSTS)), other.port)
    path = harness.write(str(tmp_path), "exclude.yaml", f"""
propagation: {{inject: auto, exclude: api.example.com}}
targets:
- pid: {c.pid}
  propagation: {{exclude: ["*.internal", no.such.host]}}
- pid: {d.pid}
""")
    s = spanhound("-c", path)
    c.go().finish()
    d.go().finish()
    result = s.stop()
    inject = need_inject(result)
    assert BLOCK.sub(b"", r.all) == b"".join(b"GET / HTTP/1.1\r\n" + h + b"A: b\r\n\r\n" for h in HOSTS)
    assert {h: bool(blocks(bytes(x))) for h, x in zip(HOSTS, r.streams)} == HOSTS
    assert {h: bool(blocks(bytes(x))) for h, x in zip(HOSTS, other.streams)} == {h: v or b"internal" in h for h, v in HOSTS.items()}
    excluded = sum(not v for v in HOSTS.values())
    assert inject["reasons"]["excluded"] == 2 * excluded - 2
    # They are reported as any other.
    assert len(clients(result)) == 2 * len(HOSTS)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
def test_exclude_addresses(spanhound, background, receiver, tmp_path, family):
    """By where the connection goes, whatever the request says."""
    receivers = [receiver(family) for _ in range(3)]
    host = receivers[0].listener.getsockname()[0]
    network = "127.0.0.0/8" if family == socket.AF_INET else "[::/64]"
    made = [Client(background, HTTP_CLIENT, host, r.port, 2) for r in receivers]
    patterns = [f"{network}:{receivers[0].port}", f"*:{receivers[1].port}", "10.0.0.0/8", "fd00::/8", f"[::1]:{free_port()}"]
    path = harness.write(str(tmp_path), "exclude.yaml",
                         "propagation: {inject: auto, exclude: [" + ", ".join(f"'{p}'" for p in patterns) + "]}\n")
    s = spanhound("-c", path, "--pid", ",".join(str(c.pid) for c in made))
    for c in made:
        c.go().finish()
    inject = need_inject(s.stop())
    assert [len(blocks(r.all)) for r in receivers] == [0, 0, 2]
    assert inject["reasons"]["done"] == 2 and inject["reasons"]["excluded"] == 4


HALF = """
import socket
c = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
c.sendall(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
head = b""
while not head.endswith(b"\\r\\n\\r\\n"):
    head += c.recv(1)
print("half", flush=True)
wait()
c.settimeout(%d)
want = (b"0123456789abcde\\n" * 100000)[:int(sys.argv[2])]
got = b""
while len(got) < len(want):
    got += c.recv(len(want) - len(got))
assert got == want
print("right")
""" % PATIENCE_S


@pytest.mark.parametrize("reads", [True, pytest.param(False, marks=pytest.mark.soak)], ids=["reads", "waits"])
def test_unread_at_the_end(spanhound, background, tmp_path, reads):
    """With a verdict program what was received waits in the map's queue: spanhound ends once it was read, or says that it was not."""
    r = Large()
    c = Client(background, HALF, r.port, Large.SZ)
    s = spanhound(*in_mode(tmp_path, "verdict"), "--pid", c.pid)
    c.go()
    assert c.line() == "half"
    s.process.send_signal(signal.SIGINT)
    if reads:
        c.go()
        assert c.finish().strip() == "right"
    result = s.result()
    inject = need_inject(result)
    r.close()
    assert inject["reasons"] == {"done": 1}
    assert inject["unread_at_end"] == (not reads and "FIONREAD" in inject["plain_lacks"])
    assert reads or not inject["unread_at_end"] or "lost to their programs" in result.stderr
