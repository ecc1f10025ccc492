# SPDX-License-Identifier: Apache-2.0
"""Trace context on connections that were there before spanhound: they may be in the middle of anything."""
import ctypes
import hashlib
import os
import re
import signal
import socket
import sys
import threading

import pytest

import harness
from harness import PATIENCE_S, wait_for
from test_inject import BLOCK, GET, HOST, Client, Large, blocks, check_blocks, clients, fetch, need_inject
from test_inject import in_mode, nginx, receiver  # noqa: F401 (fixtures)

SYS_RECVFROM = {"x86_64": 45, "aarch64": 207}[os.uname().machine]
LET_PASS = 2  # requests, before it is known where the next one begins (bpf/learn.bpf.h)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Script:
    """One connection: receives so many bytes, answers with these; at the end whatever still comes."""

    def __init__(self, steps, listener=None):
        self.listener = listener or socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.stream = bytearray()
        self.errors = []
        self.go_on = threading.Event()  # a step of None waits for it
        threading.Thread(target=self._serve, args=(steps,), daemon=True).start()

    def _serve(self, steps):
        try:
            c, _ = self.listener.accept()
            with c:
                end = 0
                for step in steps:
                    if step is None:
                        self.go_on.wait(PATIENCE_S)
                        continue
                    end += step[0]
                    # What was put in comes on top of it.
                    while len(BLOCK.sub(b"", self.stream)) < end:
                        self._more(c)
                    c.sendall(step[1])
                while self._more(c):
                    pass
        except (OSError, EOFError) as e:
            self.errors.append(e)

    def _more(self, c):
        data = c.recv(65536)
        self.stream += data
        return data

    @property
    def plain(self):
        return BLOCK.sub(b"", bytes(self.stream))

    def wait(self, cnt):
        wait_for(lambda: len(self.plain) >= cnt or self.errors, f"{cnt} bytes")
        assert not self.errors


# Parts are written one by one; a number is read, to the byte; "more" goes on in a packet that is not sent yet; "now" is when
# spanhound attaches.
RAW = """
import fcntl, hashlib, socket, struct, termios
c = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
flags = 0
if sys.argv[3:]:
    c.settimeout(60)  # O_NONBLOCK
for part in eval(sys.argv[2]):
    if part == "now":
        print("there", flush=True)
        wait()
    elif part == "more":
        flags = socket.MSG_MORE
    elif part == "asks":
        p = __import__("select").poll(); p.register(c, 1); p.poll()
        print(struct.unpack("i", fcntl.ioctl(c, termios.FIONREAD, b"    "))[0], flush=True)
    elif isinstance(part, int):
        got = b""
        while len(got) < part:
            data = c.recv(part - len(got))
            assert data
            got += data
        print(hashlib.sha256(got).hexdigest(), flush=True)
    else:
        assert c.send(part, flags) == len(part)
        flags = 0
"""
POST = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n"
ASK = [GET, len(OK)]
ANSWER = (len(GET), OK)
HEAD_20K = b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n"
BODY_20K = bytes(i * 7 & 255 for i in range(20000))

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
UPGRADE = GET[:-2] + b"Upgrade: x\r\nConnection: upgrade\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
TLS = b"\x17\x03\x03\x00\x20" + bytes(32)

# What the program does; what the server does; which of the requests get a header: by their number among all that look like one.
CASES = {
    "idle": (ASK + ["now"] + ASK * 5, [ANSWER] * 6, [3, 4, 5]),
    "never_used": (["now"] + ASK * 3, [ANSWER] * 3, [0, 1, 2]),
    "waits_for_answer": ([GET, "now", len(OK)] + ASK * 3, [(len(GET), b""), None, (0, OK)] + [ANSWER] * 3, [3]),
    "half_a_head": ([GET[:20], "now", GET[20:], len(OK)] + ASK * 3, [ANSWER] * 4, [3]),
    "half_a_head_unsent": (["more", GET[:20], "now", GET[20:], len(OK)] + ASK * 3, [ANSWER] * 4, [3]),
    "half_an_answer": ([GET, 100, "now", len(HEAD_20K) + 20000 - 100] + ASK * 3, [(len(GET), HEAD_20K + BODY_20K)] + [ANSWER] * 3,
                       [3]),
    "body_of_requests": ([POST % (5 * len(GET)), GET, "now"] + [GET] * 4 + [len(OK)] + ASK * 3,
                         [(len(POST % 100) + 5 * len(GET), OK)] + [ANSWER] * 3, [8]),
    # The answer comes before the body is over: what is written after it is no request yet.
    "early_answer": ([POST % (4 * len(GET)), GET, "now"] + ASK + [GET, GET] + ASK * 4,
                     [(len(POST % 100) + 2 * len(GET), OK), (3 * len(GET), OK)] + [ANSWER] * 3, [8]),
    "continue": ([POST % len(GET), "now", len(CONTINUE), GET, len(OK)] + ASK * 3,
                 [(len(POST % 10), CONTINUE), ANSWER] + [ANSWER] * 3, [3, 4]),
    "body_after_continue": (["now", POST % len(GET), len(CONTINUE), GET, len(OK)] + ASK * 2,
                            [(len(POST % 10), CONTINUE), ANSWER] + [ANSWER] * 2, [0, 2, 3]),
    "pipelined": (ASK + ["now"] + [GET, GET, 2 * len(OK)] * 3, [ANSWER] * 7, []),
    "in_one_piece": (ASK + ["now"] + [GET * 2, 2 * len(OK)] * 3, [ANSWER] * 7, []),
    "chunked": (ASK + ["now"] + [CHUNKED, len(OK)] * 4, [ANSWER] + [(len(CHUNKED), OK)] * 4, []),
    "upgrade": (ASK + ["now"] + [UPGRADE, len(SWITCH)] + ASK * 4, [ANSWER, (len(UPGRADE), SWITCH)] + [ANSWER] * 4, []),
    "tls": ([TLS, len(TLS), "now"] + [TLS, len(TLS)] * 10 + ASK, [(len(TLS), TLS)] * 11 + [ANSWER], []),
}


def run_case(background, steps, servers, *options, listener=None, prefix=()):
    script = Script(servers, listener)
    c = Client(background, RAW, script.port, repr(steps), *options, prefix=prefix, timeout=None).go()
    wait_for(lambda: c.line() == "there", "the program to get there")
    return script, c


def finish_case(case, script, c, steps):
    out = c.finish()
    want = b"".join(p for p in steps if isinstance(p, bytes))
    script.wait(len(want))
    assert script.plain == want, case
    return out.split()


BEGINS = re.compile(rb"(?:GET|POST) / HTTP/1\.1\r\n")


def headed(stream):
    """Which requests have a header: by their number among all that look like one."""
    return [i for i, m in enumerate(BEGINS.finditer(stream)) if BLOCK.match(stream, m.end())]


SENDER = """
import socket
c = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
c.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
body = (b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n" * 100000)[:2000000]
print("there", flush=True)
c.sendall(b"POST / HTTP/1.1\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
for i in range(4):
    assert c.recv(100) == b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n"
    c.sendall(b"GET / HTTP/1.1\\r\\nHost: b\\r\\n\\r\\n")
assert c.recv(100)
"""
SENDER_HEAD = b"POST / HTTP/1.1\r\nContent-Length: 2000000\r\n\r\n"
SENDER_BODY = (GET * 100000)[:2000000]


def run_sender(background):
    """A program in the middle of a write, which waits for room."""
    script = Script([None, (len(SENDER_HEAD) + len(SENDER_BODY), OK)] + [ANSWER] * 4)
    c = Client(background, SENDER, script.port, timeout=None).go()
    assert c.line() == "there"
    with open(f"/proc/{c.pid}/stat", encoding="utf-8") as f:
        wait_for(lambda: f.seek(0) == 0 and f.read().rpartition(")")[2].split()[0] == "S", "its write to wait")
    return script, c


def finish_sender(script, c):
    """What was still to be sent of that write was sent as it is."""
    c.finish()
    before = len(SENDER_HEAD) + len(SENDER_BODY)
    want = SENDER_HEAD + SENDER_BODY + GET.replace(b"a", b"b") * 4
    script.wait(len(want))
    assert script.plain == want
    assert bytes(script.stream[:before]) == want[:before] and headed(bytes(script.stream[before:])) == [2, 3]


def test_middle(spanhound, background, tmp_path):
    """Whatever a connection was in the middle of, headers come only where a request surely begins, and nothing else changes. (Their
    reads wait, and one a write: by a user's word.)"""
    running = {case: run_case(background, *CASES[case][:2]) for case in CASES}
    sender = run_sender(background)
    s = spanhound(*in_mode(tmp_path, "plain"), *(a for _, c in (*running.values(), sender) for a in ("--pid", c.pid)))
    sender[0].go_on.set()
    for script, c in running.values():
        c.go()
        script.go_on.set()
    for case, (script, c) in running.items():
        finish_case(case, script, c, CASES[case][0])
    finish_sender(*sender)
    result = s.stop()
    inject = need_inject(result)
    assert inject["older"] == len(CASES) + 1 and inject["enrolled"] == 0, inject
    assert {case: headed(bytes(script.stream)) for case, (script, _) in running.items()} == {case: c[2] for case, c in CASES.items()}
    assert inject["left"] == 2  # upgrade, tls
    told = [m for script, _ in (*running.values(), sender) for m in blocks(bytes(script.stream))]
    assert len(told) == inject["reasons"]["done"] == sum(len(c[2]) for c in CASES.values()) + 2
    assert {int(m["span"], 16) for m in told} <= {x["span_id"] for x in clients(result)}


def test_unread_verdict(spanhound, background, tmp_path):
    """With a verdict program a half-read segment would come twice, and a read that waits would for ever: such connections are left
    alone, an idle one is not. And then it is as easily read as any: FIONREAD says how much there is."""
    half = [GET, 100, "now", len(HEAD_20K) + 20000 - 100] + ASK * 3
    whole = [GET, len(OK), "now"] + ASK * 2 + [GET, "asks", len(HEAD_20K) + 20000]
    answer = (len(GET), HEAD_20K + BODY_20K)
    a = run_case(background, half, [answer] + [ANSWER] * 3, "nonblocking")
    b = run_case(background, whole, [ANSWER] * 3 + [answer], "nonblocking")
    waits = [GET, "now", len(OK)] + ASK * 3
    d = run_case(background, waits, [(len(GET), b""), None, (0, OK)] + [ANSWER] * 3)
    d[1].go()
    with open(f"/proc/{d[1].pid}/syscall", encoding="utf-8") as f:
        wait_for(lambda: f.seek(0) == 0 and f.read().startswith(f"{SYS_RECVFROM} "), "its read to wait")
    s = spanhound(*in_mode(tmp_path, "verdict"), "--pid", f"{a[1].pid},{b[1].pid},{d[1].pid}")
    d[0].go_on.set()
    for _, c in (a, b):
        c.go()
    finish_case("waits", *d, waits)
    assert not blocks(bytes(d[0].stream))
    digests = finish_case("half", *a, half)
    finish_case("whole", *b, whole)
    assert digests[0] == hashlib.sha256((HEAD_20K + BODY_20K)[100:]).hexdigest()
    inject = need_inject(s.stop())
    assert not blocks(bytes(a[0].stream))
    if inject["reasons"].get("unfit"):
        pytest.skip("this kernel has no need of the mode, and no way into it")
    assert inject["reasons"]["unread"] == 1
    assert inject["older"] == 1 and headed(bytes(b[0].stream)) == [3] and inject["reasons"]["waits"] == 1


def listener_in(path):
    """A socket belongs to the network namespace of the thread that makes it."""
    made = []

    def make():
        with open(path, encoding="utf-8") as f:
            if ctypes.CDLL(None, use_errno=True).setns(f.fileno(), 0):
                made.append(OSError(ctypes.get_errno(), "setns"))
            else:
                made.append(socket.create_server(("127.0.0.1", 0)))
    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]


@pytest.mark.parametrize("mode", ["auto", "verdict"])
def test_another_network_namespace(spanhound, background, tmp_path, mode):
    """As a container's connections are."""
    holder = background("unshare", "--net", "sh", "-c", "ip link set lo up && exec sleep 1000")
    wait_for(lambda: os.readlink(f"/proc/{holder.pid}/exe").endswith("sleep"), "the namespace")
    net = f"/proc/{holder.pid}/ns/net"
    assert os.readlink(net) != os.readlink("/proc/self/ns/net")
    script, c = run_case(background, *CASES["idle"][:2], "nonblocking", listener=listener_in(net), prefix=["nsenter", f"--net={net}"])
    s = spanhound(*in_mode(tmp_path, mode), "--pid", c.pid)
    c.go()
    finish_case("idle", script, c, CASES["idle"][0])
    inject = need_inject(s.stop())
    if inject["reasons"].get("unfit"):
        pytest.skip("this kernel has no need of the mode, and no way into it")
    assert inject["older"] == 1 and headed(bytes(script.stream)) == CASES["idle"][2], inject


KEPT = """
import http.client
c = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
for i in range(3 * int(sys.argv[2])):
    if i % int(sys.argv[2]) == 0:
        print("there", flush=True)
        wait()
    body = b"GET / HTTP/1.1\\r\\n\\r\\n" * (i % 3)
    c.request("POST" if body else "GET", f"/{i}", body=body or None)
    assert c.getresponse().read()
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["stop", "kill"])
def test_keepalive(spanhound, background, receiver, how):  # noqa: F811
    """Before spanhound, beside it, after it, on one connection."""
    r, cnt = receiver(), 10
    c = Client(background, KEPT, r.port, cnt).go()
    assert c.line() == "there"
    c.go()
    assert c.line() == "there"
    s = spanhound("--pid", c.pid, "--inject")
    c.go()
    assert c.line() == "there"
    if how == signal.SIGKILL:
        objects = harness.kernel_objects_of(s.pid)
        s.kill()
        wait_for(lambda: harness.are_gone(objects), "the kernel half to be gone")
    else:
        result = s.stop()
        inject = need_inject(result)
        assert inject["older"] == 1 and inject["reasons"]["done"] == cnt - LET_PASS and inject["reasons"]["older"] == LET_PASS
        check_blocks(blocks(r.all), [x for x in clients(result) if int(x["meta"]["http.url"].rpartition("/")[2]) >= cnt + LET_PASS])
    c.go().finish()
    lines = [int(m[1]) for m in re.finditer(rb"/([0-9]+) HTTP/1.1\r\nx-datadog-trace-id", r.all)]
    assert lines == list(range(cnt + LET_PASS, 2 * cnt)) and not r.errors
    assert len(re.findall(rb"(?:GET|POST) /[0-9]+ HTTP", r.all)) == 3 * cnt
    assert len(r.streams) == 1


SERVER = """
import socket
import sys
s = socket.create_server(("127.0.0.1", 0))
print(s.getsockname()[1], flush=True)
c, _ = s.accept()
if sys.argv[1] == "closed":
    s.close()
c.send(c.recv(1000))
print("there", flush=True)
wait()
for i in range(6):
    c.send(c.recv(1000))
"""


def test_servers(spanhound, background):
    """Accepted connections are not enrolled. When their listener is gone that is not seen: nothing is written to them all the same,
    be it that what they answer looks like requests."""
    servers = [Client(background, SERVER, how).go() for how in ("open", "closed")]
    callers = [socket.create_connection(("127.0.0.1", int(s.line()))) for s in servers]
    for server, c in zip(servers, callers):
        c.sendall(GET)
        assert c.recv(1000) == GET and server.line() == "there"
    s = spanhound("--pid", ",".join(str(x.pid) for x in servers), "--inject")
    for server, c in zip(servers, callers):
        server.go()
        for _ in range(6):
            c.sendall(GET)
            assert c.recv(1000) == GET
        server.finish()
        c.close()
    inject = need_inject(s.stop())
    assert inject["older"] == 1 and inject["reasons"].get("done") is None


def test_proxy(spanhound, nginx, tmp_path):  # noqa: F811
    """nginx's kept connections to its upstream, with a verdict program."""
    r = Large()
    n = nginx(r.port)
    with socket.create_connection(("127.0.0.1", n.port), timeout=PATIENCE_S) as c:
        assert fetch(c) == Large.body()
        s = spanhound(*in_mode(tmp_path, "verdict"), "--pid", ",".join(map(str, n.tree())))
        for _ in range(20):
            assert fetch(c) == Large.body()
    result = s.stop()
    inject = need_inject(result)
    r.close()
    assert inject["older"] == 1 and inject["reasons"] == {"done": 20 - LET_PASS, "older": LET_PASS}
    assert len(r.streams) == 1 and len(blocks(r.all)) == 20 - LET_PASS


# Runs a program without a system call: pidfd_getfd() is number 438 everywhere, and seccomp(2)'s filter is BPF's oldest form.
WITHOUT = """#!{python}
import ctypes, os, struct, sys
code = [(0x20, 0, 0, 0), (0x15, 0, 1, 438), (0x06, 0, 0, 0x50001), (0x06, 0, 0, 0x7fff0000)]
text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *c) for c in code))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code), ctypes.addressof(text)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0, ctypes.get_errno()
os.execv("{binary}", ["{binary}"] + sys.argv[1:])
"""


def test_withheld(spanhound, background, receiver, tmp_path):  # noqa: F811
    """Where descriptors of others are not to be had it is said once, and new connections are not touched by that."""
    r = receiver()
    made = [Client(background, KEPT, r.port, 5).go() for _ in range(2)]
    for c in made:
        assert c.line() == "there"
        c.go()
        assert c.line() == "there"
    new = Client(background, KEPT, r.port, 5)
    path = harness.write(str(tmp_path), "without", WITHOUT.format(python=sys.executable, binary=harness.BINARY))
    os.chmod(path, 0o755)
    s = spanhound("--pid", ",".join(str(c.pid) for c in (*made, new)), "--inject", binary=path)
    new.go()
    for c in (*made, new):
        for _ in range(4 if c is new else 2):
            c.go()
        c.finish()
    result = s.stop()
    inject = need_inject(result)
    assert inject["reasons"]["done"] == 15 and inject["reasons"]["withheld"] == 2 and inject["older"] == 0
    assert len(blocks(r.all)) == 15
    assert result.stderr.count("pidfd_getfd(): Operation not permitted") == 1


# Reads in small pieces, of segments that hold many of them, and checks every byte.
PIECES = """
import hashlib, socket, threading
port, cnt = int(sys.argv[1]), int(sys.argv[2])
stop = threading.Event()
asked = [0] * cnt
def work(n):
    c = socket.create_connection(("127.0.0.1", port), timeout=60)
    while not stop.is_set():
        body = bytes([asked[n] & 255, n]) * (asked[n] * 37 % 3000)
        c.sendall(b"POST / HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
        got, want = b"", b"HTTP/1.1 200 OK\\r\\nContent-Length: 4096\\r\\n\\r\\n" + hashlib.sha256(body).hexdigest().encode() * 64
        while len(got) < len(want):
            data = c.recv(min(701, len(want) - len(got)))
            assert data
            got += data
        assert got == want
        asked[n] += 1
        stop.wait(0.002)
workers = [threading.Thread(target=work, args=(n,)) for n in range(cnt)]
for w in workers:
    w.start()
print("there", flush=True)
wait()
stop.set()
for w in workers:
    w.join()
print(sum(asked), flush=True)
"""


@pytest.mark.soak
@pytest.mark.parametrize("mode", ["plain", "verdict"])
def test_under_load(spanhound, background, receiver, tmp_path, mode):  # noqa: F811
    """Enrolled while answers are read in pieces: none comes twice, none is lost."""
    enrolled = 0
    for _ in range(10):
        r = receiver()
        c = Client(background, PIECES, r.port, 4).go()
        assert c.line() == "there"
        s = spanhound(*in_mode(tmp_path, mode), "--pid", c.pid)
        before = [len(x) for x in r.streams]
        wait_for(lambda: c.process.poll() is not None or all(len(x) > y + 50_000 for x, y in zip(r.streams, before)), "requests")
        c.go()
        assert int(c.finish().strip()) and not r.errors
        inject = need_inject(s.stop())
        assert inject["older"] + inject["reasons"].get("unread", 0) == len(r.streams) == 4
        assert len(blocks(r.all)) == inject["reasons"].get("done", 0)
        enrolled += inject["older"]
    assert enrolled > 10
