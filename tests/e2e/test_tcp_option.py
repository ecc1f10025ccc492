# SPDX-License-Identifier: Apache-2.0
"""The trace of requests in TCP options, between two hosts (network namespaces, or one host) with a spanhound each: neither sees what
the other does, so whatever is linked came with the segments. Byte by byte the streams are what was written."""
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

import harness
import web
from agents import free_port
from harness import PATIENCE_S, target_environment, wait_for
from web import path_of

# Keeps the bytes of each connection in a file, and answers each request.
SERVER = """
import re, socket, sys, threading
listener = socket.create_server((sys.argv[1], 0), family=socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
print(listener.getsockname()[1], flush=True)
def serve(c, f):
    data = b""
    while True:
        end = data.find(b"\\r\\n\\r\\n")
        length = re.search(rb"(?i)\\r\\ncontent-length: *([0-9]+)", data[:end]) if end >= 0 else None
        whole = end + 4 + (int(length[1]) if length else 0)
        if end >= 0 and len(data) >= whole:
            data = data[whole:]
            c.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
            continue
        got = c.recv(65536)
        if not got:
            return
        f.write(got)
        f.flush()
        data += got
number = 0
while True:
    c, _ = listener.accept()
    threading.Thread(target=serve, args=(c, open(f"{sys.argv[2]}.{number}", "wb")), daemon=True).start()
    number += 1
"""

# Runs scenes, each on a connection of its own, and keeps what it writes in a file for each.
CLIENT = """
import socket, sys, time
host, port, path, scenes = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4:]
def connect():
    c = socket.create_connection((host, port))
    c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return c
older = connect() if "older" in scenes else None
print("ready", flush=True)
sys.stdin.readline()
LOOKALIKE = b"GET /never HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n"
def play(scene, c, sent):
    def request(name, body=b"", more=b""):
        return b"%s /%s HTTP/1.1\\r\\nHost: h\\r\\n%sContent-Length: %d\\r\\n\\r\\n%s" % (
            b"POST" if body else b"GET", f"{scene}/{name}".encode(), more, len(body), body)
    def write(data, how=c.sendall):
        how(data)
        sent.write(data)
    def answers(cnt=1):
        data = b""
        while data.count(b"\\r\\n\\r\\nok") < cnt:
            got = c.recv(65536)
            assert got
            data += got
    def asks(cnt):
        for i in range(cnt):
            write(request(str(i), LOOKALIKE * 9000 if i % 5 == 4 else b""))
            answers()
    if scene == "kept":
        asks(15)
    elif scene == "bytewise":
        for i in range(3):
            for byte in request(str(i)):
                write(bytes([byte]))
            answers()
    elif scene == "split":
        for i, at in enumerate((1, 2, 3, 4, 5, 20)):
            data = request(str(i), b"x" * i)
            write(data[:at])
            time.sleep(0.01)
            write(data[at:])
            answers()
    elif scene == "long":
        for i in range(3):
            write(request(str(i), more=b"Cookie: %s\\r\\n" % (b"c" * 20000)))
            answers()
    elif scene == "vectored":
        def vectored(data):
            cnt = c.sendmsg([data[:2], data[2:3], b"", data[3:]])
            assert cnt == len(data)
        for i in range(3):
            write(request(str(i)), vectored)
            answers()
    elif scene == "corked":
        for i in range(3):
            data = request(str(i), b"b" * 100)
            write(data[:30], lambda x: c.send(x, socket.MSG_MORE))
            write(data[30:])
            answers()
    elif scene == "pipelined":
        for i in range(0, 9, 3):
            write(b"".join(request(str(i + k)) for k in range(3)))
            answers(3)
    elif scene == "overtaking":
        for i in range(0, 6, 2):
            write(request(str(i)))
            write(request(str(i + 1)))
            answers(2)
    elif scene == "full":
        c.setblocking(False)
        def some(data):
            while data:
                try:
                    data = data[c.send(data):]
                except BlockingIOError:
                    time.sleep(0.001)
        for i in range(2):
            c.setblocking(False)
            write(request(str(i), LOOKALIKE * 50000), some)
            c.setblocking(True)
            answers()
    elif scene == "older":
        asks(2)
for s in scenes:
    with older if s == "older" else connect() as connection, open(f"{path}.{s}", "wb") as file:
        play(s, connection, file)
print("done", flush=True)
sys.stdin.readline()
"""


class Talk:
    """A server in one namespace, a client in the other; None: both here, at `address`."""

    def __init__(self, background, tmp_path, namespaces, scenes, address="127.0.0.1"):
        (self.a, _), (self.b, self.address) = namespaces or ((None, None), (None, address))
        self.background, self.tmp_path, self.scenes = background, tmp_path, scenes
        self.server = self._start(self.b, SERVER, self.address, tmp_path / "received")
        self.port = int(self.server.stdout.readline())
        self.client = self._start(self.a, CLIENT, self.address, self.port, tmp_path / "sent", *scenes)
        assert self.client.stdout.readline() == "ready\n"

    def _start(self, namespace, *args):
        within = ["ip", "netns", "exec", namespace] if namespace else []
        return self.background(*within, sys.executable, "-c", *map(str, args), stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True, env=target_environment())

    def go(self):
        self.client.stdin.write("go\n")
        self.client.stdin.flush()
        assert self.client.stdout.readline() == "done\n"

    def check_bytes(self):
        for i, s in enumerate(sorted(self.scenes, key=lambda s: s != "older")):
            sent, received = (self.tmp_path / name for name in (f"sent.{s}", f"received.{i}"))
            assert received.read_bytes() == sent.read_bytes(), s


def no_headers(tmp_path):
    """A file: options alone."""
    return harness.write(str(tmp_path), "options.yaml", "propagation: {inject: off, tcp_option: true}\n")


def hosts(spanhound, tmp_path, a, b):
    """A spanhound for each of two lists of processes."""
    path = no_headers(tmp_path)
    made = [spanhound("--pid", ",".join(str(p.pid) for p in pids), "-c", path, wait_ready=False) for pids in (a, b)]
    return [s.wait_ready() for s in made]


def results(made):
    for s in made:
        s.process.send_signal(signal.SIGINT)
    got = [s.result() for s in made]
    for r in got:
        if not r.summary["tcp_option"]["on"]:
            pytest.skip(r.summary["tcp_option"]["why_not"])
    return got


def counts(result):
    return result.summary["tcp_option"]["counts"]


def linked(a, b):
    """{scene: [how each server span is linked]}, by the client's span of the same request; what is under one is under that one."""
    clients = {path_of(s): s for s in web.seen(a).clients}
    servers = web.seen(b).servers
    assert len(servers) == len(clients)
    got = {}
    for s in servers:
        c = clients[path_of(s)]
        link = s["meta"].get("spanhound.link")
        assert bool(link) == bool(s["parent_id"])
        if link:
            assert (s["parent_id"], s["trace_id_128"]) == (c["span_id"], c["trace_id_128"]), f"false: {s} under {c}"
            assert s["metrics"]["_sampling_priority_v1"] == c["metrics"]["_sampling_priority_v1"]
        got.setdefault(path_of(s).split("/")[1], []).append(link)
    return got


# How many requests, and how many of them are linked: of those that are pipelined the one at the front.
SCENES = {"older": (2, 0), "kept": (15, 15), "bytewise": (3, 3), "split": (6, 6), "long": (3, 3), "vectored": (3, 3), "corked": (3, 3),
          "full": (2, 2), "pipelined": (9, 3), "overtaking": (6, 3)}


def test_streams(spanhound, background, tmp_path, namespaces):
    t = Talk(background, tmp_path, namespaces, list(SCENES))
    made = hosts(spanhound, tmp_path, [t.client], [t.server])
    t.go()
    a, b = results(made)
    t.check_bytes()
    got = linked(a, b)
    assert {s: (len(links), links.count("option")) for s, links in got.items()} == SCENES
    cnt = sum(cnt for _, cnt in SCENES.values())
    assert counts(a) == {"sent": cnt, "older": 2} and counts(b) == {"heard": cnt}
    assert f"TCP options: sent {cnt}, older 2, heard 0\n  older: " in a.stderr + a.stdout


def test_ipv6(spanhound, background, tmp_path, info):
    scenes = ["kept", "bytewise", "pipelined"]
    t = Talk(background, tmp_path, None, scenes, "::1")
    made = hosts(spanhound, tmp_path, [t.client], [t.server])
    t.go()
    a, b = results(made)
    t.check_bytes()
    got = linked(a, b)
    assert {s: (len(links), links.count("option")) for s, links in got.items()} == {s: SCENES[s] for s in scenes}
    cnt = sum(SCENES[s][1] for s in scenes)
    assert counts(a) == {"sent": cnt} and counts(b) == {"heard": cnt}
    assert info["tcp_option"] == {"on": True, "why_not": ""}


def test_info_without(info):
    """Who may not have it is told why."""
    if not info["tcp_option"]["on"] or not shutil.which("setpriv"):
        pytest.skip(info["tcp_option"]["why_not"] or "no setpriv")
    caps = "-net_admin,-sys_admin"
    p = subprocess.run(["setpriv", f"--bounding-set={caps}", f"--inh-caps={caps}", harness.BINARY, "info", "--json"], capture_output=True,
                       env=target_environment(), check=True)
    option = json.loads(p.stdout)["tcp_option"]
    assert not option["on"] and "sockops" in option["why_not"] and "not permitted" in option["why_not"]


def speaking(background, text, *args):
    """A Python program that is spoken to by lines."""
    return background(sys.executable, "-c", text, *map(str, args), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                      env=target_environment())


def tell(p):
    p.stdin.write("go\n")
    p.stdin.flush()


# Two processes have a connection. While one waits for room to write the rest of a request, the other one wants to write one: the kernel
# has none for it, and it asks again when the first is through.
SHARING = r"""
import ctypes, fcntl, os, select, socket, sys, time
print("ready", flush=True)
sys.stdin.readline()
c = socket.create_connection((sys.argv[1], int(sys.argv[2])))
c.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
through, first = os.pipe()
BODY = b"x" * (1 << 20)
def full():
    return not select.select([], [c], [], 0)[1], fcntl.ioctl(c, 0x5411, b"1234") # SIOCOUTQ
def standstill():
    last, times = None, 0
    while times < 50:
        now = full()
        times = times + 1 if now[0] and now == last else 0
        last = now
        time.sleep(0.001)
def answer(cnt):
    data = b""
    while data.count(b"\r\n\r\nok") < cnt:
        got = c.recv(65536)
        assert got
        data += got
other = os.fork()
if not other:
    ctypes.CDLL(None).prctl(1, 9) # PR_SET_PDEATHSIG
    GET = b"GET /other HTTP/1.1\r\nHost: h\r\n\r\n"
    standstill()
    try:
        c.send(GET, socket.MSG_DONTWAIT)
        os._exit(1)
    except BlockingIOError:
        print("full", flush=True)
    os.read(through, 1)
    c.sendall(GET)
    os._exit(0)
posted = b"POST /first HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
c.sendall(posted)
os.write(first, b"x")
assert os.waitpid(other, 0)[1] == 0
answer(2)
c.sendall(b"GET /last HTTP/1.1\r\nHost: h\r\n\r\n")
answer(1)
print("done", flush=True)
sys.stdin.readline()
"""

# Reads nothing before it is told to.
SLOW = SERVER.replace("def serve(c, f):\n", "def serve(c, f):\n    sys.stdin.readline()\n").replace(
    "print(", "listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)\nprint(")


def test_shared_connection(spanhound, background, tmp_path):
    """Whose segment leaves is not known while two write: the one who came second says nothing, and nobody's option is taken for its."""
    server = speaking(background, SLOW, "127.0.0.1", tmp_path / "received")
    client = speaking(background, SHARING, "127.0.0.1", server.stdout.readline())
    assert client.stdout.readline() == "ready\n"
    made = hosts(spanhound, tmp_path, [client], [server])
    tell(client)
    assert client.stdout.readline() == "full\n"
    tell(server)
    assert client.stdout.readline() == "done\n"
    a, b = results(made)
    assert counts(a) == {"sent": 2, "shared": 1} and counts(b) == {"heard": 2}
    spans = {path_of(s): s for s in web.seen(a).clients}
    servers = {path_of(s): s for s in web.seen(b).servers}
    other = servers.pop("/other", {"meta": {}})  # it begins in the middle of what is read, where it may be overlooked
    assert not other["meta"].get("spanhound.link") and set(servers) == {"/first", "/last"}
    for path, s in servers.items():
        assert s["meta"]["spanhound.link"] == "option"
        assert (s["parent_id"], s["trace_id_128"]) == (spans[path]["span_id"], spans[path]["trace_id_128"])
    received = (tmp_path / "received.0").read_bytes()
    assert received == b"".join(b"%s /%s HTTP/1.1\r\nHost: h\r\n%s\r\n%s" % x for x in (
        (b"POST", b"first", b"Content-Length: 1048576\r\n", b"x" * (1 << 20)), (b"GET", b"other", b"", b""), (b"GET", b"last", b"", b"")))


# Two processes accept from one listener, which they have from their parent. They end with it.
PORT_SHARING = r"""
import ctypes, os, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
def serve():
    ctypes.CDLL(None).prctl(1, 9) # PR_SET_PDEATHSIG
    while True:
        c, _ = listener.accept()
        with c:
            data = b""
            while b"\r\n\r\n" not in data:
                data += c.recv(65536)
            c.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nX-Pid: %d\r\nContent-Length: 2\r\n\r\nok" % os.getpid())
pids = []
for _ in range(2):
    pids.append(os.fork())
    if not pids[-1]:
        serve()
print(listener.getsockname()[1], *pids, flush=True)
sys.stdin.readline()
"""

# Until each of so many processes has answered some.
ASKING_ALL = r"""
import socket, sys
port, want = int(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
answers, cnt = {}, 0
while len(answers) < want or min(answers.values()) < 2:
    with socket.create_connection(("127.0.0.1", port)) as c:
        c.sendall(b"GET /%d/a HTTP/1.1\r\nHost: h\r\n\r\n" % cnt)
        data = b""
        while got := c.recv(65536):
            data += got
    pid = data.split(b"X-Pid: ")[1].split(b"\r")[0]
    answers[pid] = answers.get(pid, 0) + 1
    cnt += 1
print(cnt, flush=True)
sys.stdin.readline()
"""


@pytest.mark.soak
def test_shared_port(spanhound, background, tmp_path):
    """Whoever accepts it: what comes with a request is heard."""
    server = speaking(background, PORT_SHARING)
    port, *pids = server.stdout.readline().split()
    client = speaking(background, ASKING_ALL, port, len(pids))
    assert client.stdout.readline() == "ready\n"
    made = [spanhound("--pid", p, "-c", no_headers(tmp_path), wait_ready=False) for p in (client.pid, ",".join(pids))]
    for s in made:
        s.wait_ready()
    tell(client)
    cnt = int(client.stdout.readline())
    a, b = results(made)
    assert linked(a, b) == {str(i): ["option"] for i in range(cnt)}
    assert counts(a) == {"sent": cnt} and counts(b) == {"heard": cnt}


def test_beside_headers(spanhound, background, tmp_path):
    """Where a header goes in, it counts; where none does, the option. Both name the same span."""
    t = Talk(background, tmp_path, None, ["kept", "long", "bytewise"])
    path = harness.write(str(tmp_path), "one.yaml", f"targets:\n  - {{pid: {t.server.pid}, propagation: {{tcp_option: true}}}}\n")
    plain = harness.write(str(tmp_path), "plain.yaml", "propagation: {inject: plain}\n")  # its reads wait
    clients = ["--pid", t.client.pid, "--tcp-option", "-c", plain]
    made = [spanhound(*clients, wait_ready=False), spanhound("-c", path, wait_ready=False)]
    for s in made:
        s.wait_ready()
    t.go()
    a, b = results(made)
    if not a.summary["inject"]["on"] or a.summary["inject"]["processes"]["no_mode"]:
        pytest.skip("no headers are injected here")
    got = linked(a, b)
    # The long ones do not come to the kernel whole.
    assert got["kept"] == [*["header"] * 4, "option"] * 3 and got["long"] == ["option"] * 3 and got["bytewise"] == ["option"] * 3
    assert counts(a) == {"sent": 21} and counts(b) == {"heard": 21}


def iptables(namespace, *args):
    tool = shutil.which("iptables", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not tool:
        pytest.skip("no iptables")
    p = subprocess.run(["ip", "netns", "exec", namespace, tool, *args], capture_output=True, text=True)
    if p.returncode:
        pytest.skip(f"iptables: {p.stderr.strip()}")


@pytest.mark.soak
def test_dropped_on_the_way(spanhound, background, tmp_path, namespaces):
    """What lets no such segment through costs two requests a timeout each, and no more."""
    t = Talk(background, tmp_path, namespaces, ["vectored"])
    iptables(t.b, "-A", "INPUT", "-p", "tcp", "--tcp-option", "254", "-j", "DROP")
    made = hosts(spanhound, tmp_path, [t.client], [t.server])
    t.go()
    a, b = results(made)
    t.check_bytes()
    assert linked(a, b) == {"vectored": [None] * 3}
    assert counts(a) == {"sent": 2, "resent": 1} and not counts(b)


@pytest.mark.soak
@pytest.mark.parametrize("every", [5, 7])
def test_lost_segments(spanhound, background, tmp_path, namespaces, every):
    """What is sent again goes without: no link then, and never a false one."""
    t = Talk(background, tmp_path, namespaces, ["kept", "bytewise", "split"])
    for namespace in (t.a, t.b):
        iptables(namespace, "-A", "INPUT", "-p", "tcp", "-m", "statistic", "--mode", "nth", "--every", str(every), "--packet", "1", "-j", "DROP")
    made = hosts(spanhound, tmp_path, [t.client], [t.server])
    t.go()
    a, b = results(made)
    t.check_bytes()
    got = linked(a, b)
    right = sum(links.count("option") for links in got.values())
    assert 0 < right == counts(b)["heard"] <= counts(a)["sent"]
    assert sum(counts(a).values()) == sum(map(len, got.values())) == 24


# --- proxies --------------------------------------------------------------------------------------------------------

class Nginx:
    """In a namespace, in front of `upstream`."""

    def __init__(self, background, tmp_path, namespace, address, upstream, server=""):
        folder = tmp_path / f"nginx-{namespace}"
        folder.mkdir()
        folder.chmod(0o777)
        tmp_path.chmod(0o755)
        self.port = free_port()
        config = harness.write(str(folder), "nginx.conf", "user root;" * (os.getuid() == 0) + web.NGINX.format(
            dir=folder, port=f"{address}:{self.port}", workers=1, master="off", http=f"upstream up {{ server {upstream}; keepalive 4; }}",
            server=server + 'location / { proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; }'))
        self.process = background("ip", "netns", "exec", namespace, "nginx", "-p", str(folder), "-c", config, stderr=subprocess.DEVNULL,
                                  env=target_environment({"DD_TRACE_PROPAGATION_STYLE_EXTRACT": "datadog,tracecontext,b3"}))
        self.pid = self.process.pid
        wait_for((folder / "nginx.pid").exists, "nginx")


def chain(spans):
    """From the root down, each the only child of the one before."""
    child = {s["parent_id"]: s for s in spans}
    assert len(child) == len(spans), spans
    ids = {s["span_id"] for s in spans}
    at, = [s for s in spans if s["parent_id"] not in ids]
    found = [at]
    while found[-1]["span_id"] in child:
        found.append(child[found[-1]["span_id"]])
    return found


OWN = 'location /own { proxy_pass http://up; proxy_set_header x-datadog-trace-id 99; proxy_set_header x-datadog-parent-id 77; }'


def test_proxies(spanhound, background, tmp_path, namespaces):
    """caller -> nginx -> nginx on the other host -> a server on the first one. nginx hands on its caller's headers; those name the
    caller's span, and the option knows better."""
    (a, near), (b, far) = namespaces
    t = Talk(background, tmp_path, namespaces[::-1], [])
    second = Nginx(background, tmp_path, b, far, f"{near}:{t.port}")
    first = Nginx(background, tmp_path, a, near, f"{far}:{second.port}", OWN)
    made = hosts(spanhound, tmp_path, [first, t.server], [second])

    def ask(path, *headers):
        subprocess.run(["ip", "netns", "exec", a, "curl", "-sf", "-o", "/dev/null", f"http://{near}:{first.port}{path}",
                        *(x for h in headers for x in ("-H", h))], check=True, timeout=PATIENCE_S)

    datadog = ["x-datadog-trace-id: 1234567890123456789", "x-datadog-parent-id: 4242424242424242424", "x-datadog-sampling-priority: 2",
               "x-datadog-tags: _dd.p.tid=6b029ec600000000,_dd.p.dm=-4"]
    ask("/plain")
    ask("/datadog", *datadog)
    ask("/b3", f"b3: 6b029ec600000000112210f47de98116-{4242424242424242424:016x}-1")
    ask("/long", "traceparent: 00-0123456789abcdef0123456789abcdef-00f067aa0ba902b7-01")
    ask("/own")
    got = results(made)
    spans = [s for r in got for s in r.spans]
    of = {p: [s for s in spans if path_of(s) == p] for p in ("/plain", "/datadog", "/b3", "/long", "/own")}
    assert {p: len(x) for p, x in of.items()} == dict.fromkeys(of, 5)
    here = {"connection": "thread"}  # of a new connection, that is
    links = [[here.get(link, link) for link in (s["meta"].get("spanhound.link") for s in chain(of[p]))] for p in ("/plain", "/datadog", "/b3")]
    assert links == [[first, "thread", "option", "thread", "option"] for first in (None, "header", "header")]
    assert len({s["trace_id_128"] for s in of["/plain"]}) == 1
    for path, low, priority in (("/datadog", 5, 2), ("/b3", 6, 1)):
        found = chain(of[path])
        assert found[0]["parent_id"] == 4242424242424242424
        for s in found:
            assert s["trace_id_128"] == f"6b029ec600000000112210f47de9811{low}"
        assert [s["metrics"].get("_sampling_priority_v1") for s in found if "_sampling_priority_v1" in s["metrics"]] == [priority] * 3
    # Of these the headers say it: an id that does not fit, and headers of the program's own.
    for s in of["/long"]:
        assert s["meta"]["spanhound.link"] in ("header", "thread", "connection") and s["trace_id_128"] == "0123456789abcdef0123456789abcdef"
    own = {s["parent_id"]: s["meta"]["spanhound.link"] for s in of["/own"] if web.kind(s) == "server" and s["parent_id"]}
    assert own.pop(77) == "header" and list(own.values()) == ["option"]  # the second one hands them on
    assert counts(got[0])["sent"] == 3 and counts(got[1])["sent"] == 4
    assert counts(got[0])["long_id"] == counts(got[1])["long_id"] == 1
    assert counts(got[0])["carries"] == 1


# --- whoever sends them ---------------------------------------------------------------------------------------------

# A host that is none: segments by hand.
FORGER = r"""
import json, socket, struct, sys
device, mac, source, target, port = sys.argv[1], bytes.fromhex(sys.argv[2]), *map(socket.inet_aton, sys.argv[3:5]), int(sys.argv[5])
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x800))
link.bind((device, 0))
link.settimeout(20)
own = link.getsockname()[4]
def total(data):
    data += b"\0" * (len(data) % 2)
    n = sum(struct.unpack(f">{len(data) // 2}H", data))
    while n >> 16:
        n = (n & 0xffff) + (n >> 16)
    return ~n & 0xffff
def send(seq, ack, flags, data=b"", options=b""):
    options += b"\1" * (-len(options) % 4)
    head = struct.pack(">HHIIBBHHH", 40000, port, seq & 0xffffffff, ack, (20 + len(options)) // 4 << 4, flags, 65535, 0, 0) + options
    pseudo = source + target + struct.pack(">BBH", 0, 6, len(head) + len(data))
    head = head[:16] + struct.pack(">H", total(pseudo + head + data)) + head[18:]
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(head) + len(data), 0, 0, 64, 6, 0, source, target)
    ip = ip[:10] + struct.pack(">H", total(ip)) + ip[12:]
    link.send(mac + own + b"\x08\x00" + ip + head + data)
def receive(wanted):
    while True:
        p = link.recv(65536)[14:]
        if p[9] != 6 or p[12:16] != target or struct.unpack(">H", p[22:24])[0] != 40000:
            continue
        size = struct.unpack(">H", p[2:4])[0]
        seq, flags, data = struct.unpack(">I", p[24:28])[0], p[33], p[20 + (p[32] >> 4) * 4:size]
        if flags & 2 if wanted == "syn" else data:
            return seq + (1 if flags & 2 else len(data))
seq = 0xfffffe00
send(seq, 0, 2)
ack = receive("syn")
seq += 1
def option(at, span=7, trace=None, flags=4, hi=0x6b029ec6, size=28, kind=254, exid=b"SH"):
    trace = span + 100 if trace is None else trace
    o = bytes([kind, size]) + exid + (at & 0xffffff).to_bytes(3, "big") + bytes([flags]) + struct.pack(">IQQ", hi, trace, span)
    return (o + b"\0" * 40)[:size]
def ask(path, make=None, split=0, both=False):
    global seq, ack
    data = b"GET %s HTTP/1.1\r\nHost: h\r\nX: %s\r\n\r\n" % (path.encode(), b"x" * 100)
    if split:
        send(seq, ack, 24, data[:split], make(seq) if both else b"")
    send(seq + split, ack, 24, data[split:], make(seq) if make else b"")
    seq += len(data)
    ack = receive("data")
    send(seq, ack, 16)
ask("/first", lambda at: option(at, span=6)) # which ends the handshake, too
ask("/none")
ask("/short", lambda at: option(at, size=20))
ask("/longer", lambda at: option(at, size=36))
ask("/other-byte", lambda at: option(at - 1))
ask("/no-trace", lambda at: option(at, trace=0))
ask("/kind", lambda at: option(at, kind=253))
ask("/experiment", lambda at: option(at, exid=b"SG"))
ask("/right", option)
ask("/priority", lambda at: option(at, span=8, flags=0x11))
ask("/unsaid", lambda at: option(at, span=9, flags=15))
ask("/split", lambda at: option(at, span=10), split=2)
ask("/behind", lambda at: option(at, span=11), split=60)
ask("/twice", lambda at: option(at, span=12), split=60, both=True)
print("done", flush=True)
sys.stdin.readline()
"""


def test_by_hand(spanhound, background, tmp_path, namespaces):
    """What comes from a host that nobody knows: only what is right for the very byte counts, and it may say anything of itself."""
    (a, _), (b, address) = namespaces
    t = Talk(background, tmp_path, namespaces, [])
    mac = {}
    for n in (a, b):
        found, = [x for x in json.loads(subprocess.run(["ip", "-n", n, "-j", "link"], capture_output=True, check=True).stdout) if x["ifname"] != "lo"]
        mac[n] = (found["ifname"], found["address"])
    subprocess.run(["ip", "-n", b, "neigh", "add", "10.99.7.77", "lladdr", mac[a][1], "dev", mac[b][0]], check=True)
    s = spanhound("--pid", t.server.pid, "--tcp-option")
    forger = background("ip", "netns", "exec", a, sys.executable, "-c", FORGER, mac[a][0], mac[b][1].replace(":", ""), "10.99.7.77", address,
                        str(t.port), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert forger.stdout.readline() == "done\n"
    r, = results([s])
    got = {path_of(x): x for x in r.spans}
    assert len(got) == 14
    linked_by = {p: x["parent_id"] for p, x in got.items() if x["meta"].get("spanhound.link")}
    assert linked_by == {"/first": 6, "/right": 7, "/priority": 8, "/unsaid": 9, "/split": 10, "/twice": 12}
    for p in linked_by:
        assert got[p]["trace_id_128"] == f"6b029ec6{linked_by[p] + 100:024x}" and got[p]["meta"]["spanhound.link"] == "option"
    assert [got[p]["metrics"]["_sampling_priority_v1"] for p in ("/right", "/priority")] == [2, -1]
    assert counts(r) == {"heard": 6, "malformed": 3}


@pytest.mark.soak
def test_off(spanhound, background, tmp_path):
    """Asked for by the file, and refused: nothing is loaded for it."""
    p = background("sleep", "1000")
    path = harness.write(str(tmp_path), "one.yaml", f"targets: [{{pid: {p.pid}}}]\npropagation: {{tcp_option: true}}\n")
    s = spanhound("-c", path, "--no-inject")
    ids = {i for kind, i in harness.kernel_objects_of(s.pid) if kind == "prog"}
    listed = json.loads(subprocess.run(["bpftool", "-j", "prog", "list"], capture_output=True, check=True).stdout)
    names = {x.get("name", "") for x in listed if x.get("id") in ids}
    assert "socket_exit" in names and not [n for n in names if n.startswith("option_")]
    r = s.stop()
    assert not r.summary["tcp_option"]["on"] and not counts(r)
