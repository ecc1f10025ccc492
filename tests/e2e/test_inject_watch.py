# SPDX-License-Identifier: Apache-2.0
"""Programs of which it is not known what they do on their sockets: watched before any header, or left alone."""
import os
import shutil
import signal
import socket
import sys

import pytest

import harness
import web
from agents import free_port
from harness import PATIENCE_S, wait_for
from test_inject import PROXY, Client, Large, blocks, clients, fetch, need_inject

# Asks on one kept connection, or a new one, as often as a line says, and reads what comes by `step` bytes.
ASKER = """
import fcntl, socket, struct, termios
port, sz, step = map(int, sys.argv[1:])
def connect():
    return socket.create_connection(("127.0.0.1", port))
def ask(c, asks):
    c.sendall(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
    got = b""
    while b"\\r\\n\\r\\n" not in got or len(got) - got.index(b"\\r\\n\\r\\n") - 4 < sz:
        data = c.recv(step)
        assert data
        got += data
        if asks and len(got) % 7 == 0:
            fcntl.ioctl(c, termios.FIONREAD, struct.pack("i", 0))
    assert got.partition(b"\\r\\n\\r\\n")[2] == (b"0123456789abcde\\n" * (sz // 16 + 1))[:sz]
kept = connect()
while words := sys.stdin.readline().split():
    c = kept if words[0] == "kept" else connect()
    for i in range(int(words[1])):
        ask(c, len(words) > 2)
    print("done", flush=True)
"""


class Asker:
    """Under a name that nobody knows."""

    def __init__(self, background, tmp, port, sz, step, known=False):
        exe = sys.executable if known else os.path.join(tmp, f"asker-{os.getpid()}")
        if not known:
            shutil.copy(os.path.realpath(sys.executable), exe)
        self.client = Client(background, ASKER, port, sz, step, executable=exe, env={"PYTHONHOME": sys.base_prefix})
        self.pid = self.client.pid
        self.client.go()
        self.ask("kept", 1)

    def ask(self, *words):
        self.client.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.client.process.stdin.flush()
        assert self.client.line() == "done"


def heads(r):
    """Of each connection, which of its requests had headers."""
    return [[b"traceparent" in head for head in bytes(stream).split(b"\r\n\r\n")[:-1]] for stream in r.streams]


def need_watch(result):
    inject = need_inject(result)
    if "FIONREAD" not in inject["plain_lacks"]:
        pytest.skip("this kernel carries everything: nobody is watched")
    return inject


def need_lacking(info):
    if "FIONREAD" not in info["injection"]["plain_lacks"]:
        pytest.skip("this kernel carries everything: nobody is watched")


def test_passes(spanhound, background, tmp_path, info):
    """It reads and reads and never asks how much there is: its requests get headers, on the connection that it has, too. That it
    passed is known when its target changes."""
    need_lacking(info)
    r = Large()
    a = Asker(background, str(tmp_path), r.port, Large.SZ, 4000)
    config = harness.write(tmp_path, "config.yaml", f"targets: [{{pid: {a.pid}}}]\npropagation: {{inject: auto}}\n")
    s = spanhound("-c", config, command="serve")
    a.ask("kept", 10)
    s.wait_line("it was watched")
    a.ask("kept", 4)
    a.ask("new", 2)
    harness.write(tmp_path, "config.yaml", f"targets: [{{pid: {a.pid}, service: other}}]\npropagation: {{inject: auto}}\n")
    s.process.send_signal(signal.SIGHUP)
    s.wait_line("reloaded")
    a.ask("new", 1)
    a.client.finish()
    result = s.stop()
    inject = need_watch(result)
    r.close()
    assert inject["processes"] == {"watched": 1, "passed": 1, "failed": 0, "no_mode": 0, "styles": 0, "turned": 0}
    assert inject["reasons"] == {"older": 2, "done": 5}
    assert heads(r) == [[False] * 13 + [True] * 2, [True] * 2, [True]]
    found = blocks(r.all)
    told = {int(m["span"], 16) for m in found}
    assert len(told) == 5 and told <= {c["span_id"] for c in clients(result)} and len(clients(result)) == 17


def test_asks(spanhound, background, tmp_path, info):
    """nginx under another name: it asks once a read filled its buffer, and never is on a socket that would answer wrongly."""
    need_lacking(info)
    r = Large()
    exe = os.path.join(tmp_path, f"gateway-{os.getpid()}")
    shutil.copy(shutil.which("nginx"), exe)
    n = web.nginx(str(tmp_path), free_port(), PROXY.format(), f"upstream up {{ server 127.0.0.1:{r.port}; keepalive 8; }}", executable=exe)
    s = spanhound("--inject", "--pid", ",".join(map(str, n.tree())))
    with socket.create_connection(("127.0.0.1", n.port), timeout=PATIENCE_S) as c:
        for _ in range(30):
            assert fetch(c) == Large.body()
    result = s.stop()
    inject = need_watch(result)
    n.stop()
    r.close()
    assert inject["processes"]["watched"] == inject["processes"]["failed"] == 1 and inject["processes"]["passed"] == 0
    assert not inject["enrolled"] and not inject["older"] and not blocks(r.all) and len(r.streams) == 1
    assert len(clients(result)) == 30


def test_not_enough(spanhound, background, tmp_path, info):
    """No read ever fills its buffer: what it does then has not been seen."""
    need_lacking(info)
    r = Large()
    r.SZ = 200
    r.body = lambda: Large.body()[:200]
    a = Asker(background, str(tmp_path), r.port, 200, 1 << 20)
    s = spanhound("--inject", "--pid", a.pid)
    a.ask("kept", 400)
    a.client.finish()
    result = s.stop()
    inject = need_watch(result)
    r.close()
    assert inject["processes"]["watched"] == 1 and not inject["processes"]["passed"] + inject["processes"]["failed"]
    assert not blocks(r.all) and "1 did not do enough yet" in result.stderr


def test_begins_to_ask(spanhound, background, tmp_path, info):
    """After it had passed: it is let go of, and still gets all that was sent to it."""
    need_lacking(info)
    r = Large()
    a = Asker(background, str(tmp_path), r.port, Large.SZ, 4000)
    s = spanhound("--inject", "--pid", a.pid)
    a.ask("kept", 10)
    s.wait_line("it was watched")
    a.ask("new", 2)
    a.ask("new", 3, "asking")
    wait_for(lambda: "gets no headers any more" in s.stderr, "it to be let go of")
    a.ask("new", 2)
    a.client.finish()
    result = s.stop()
    inject = need_watch(result)
    r.close()
    assert inject["processes"] == {"watched": 1, "passed": 1, "failed": 0, "no_mode": 0, "styles": 0, "turned": 1}
    assert heads(r)[1] == [True] * 2 and not any(heads(r)[3]) and heads(r)[2][1:] == [False] * 2
    told = {int(m["span"], 16) for m in blocks(r.all)}
    assert told <= {c["span_id"] for c in clients(result)} and len(clients(result)) == 17


def test_anew(spanhound, background, tmp_path, info):
    """Once more by a user's word: once more it is let go of."""
    need_lacking(info)
    r = Large()
    a = Asker(background, str(tmp_path), r.port, Large.SZ, 4000, known=True)

    def config(mode):
        return harness.write(tmp_path, "config.yaml", f"targets: [{{pid: {a.pid}, propagation: {{inject: {mode}}}}}]\n")

    s = spanhound("-c", config("auto"), command="serve")
    a.ask("new", 1)
    a.ask("new", 2, "asking")
    s.wait_line("gets no headers any more")
    a.ask("new", 1)
    config("plain")
    s.process.send_signal(signal.SIGHUP)
    s.wait_line("reloaded")
    a.ask("new", 1)
    a.ask("new", 2, "asking")
    wait_for(lambda: s.stderr.count("gets no headers any more") == 2, "it to be let go of again")
    a.ask("new", 1)
    a.client.finish()
    inject = need_inject(s.stop())
    r.close()
    assert inject["processes"]["turned"] == 2
    assert [h[0] for h in heads(r)] == [False, True, True, False, True, True, False]


def test_lost(spanhound, background, hot, tmp_path, info):
    """Nobody tells that a program began to ask when the rings are full: it is found out by looking."""
    need_lacking(info)
    r = Large()
    a = Asker(background, str(tmp_path), r.port, Large.SZ, 4000, known=True)
    busy, last = hot(1, 0), hot(1, 0)
    s = spanhound("--inject", "--pid", f"{a.pid},{busy.pid},{last.pid}", "--function", "p_hot", "--ring-size", "64k")
    cpu = min(os.sched_getaffinity(0))
    for pid in (a.pid, busy.pid, last.pid):
        os.sched_setaffinity(pid, {cpu})
    a.ask("new", 2)
    os.kill(s.pid, signal.SIGSTOP)
    busy.go()
    wait_for(lambda: harness.cpu_ticks(busy.pid) > 50, "the ring to be full")
    busy.stop()
    last.kill()  # for its end, which is told with less than a call, there may be room
    a.ask("new", 1, "asking")
    os.kill(s.pid, signal.SIGCONT)
    wait_for(lambda: "gets no headers any more" in s.stderr, "it to be let go of")
    a.ask("new", 1)
    a.client.finish()
    result = s.stop()
    inject = need_inject(result)
    r.close()
    assert result.summary["process_events_lost"] and inject["processes"]["turned"] == 1
    assert [any(h) for h in heads(r)] == [False, True, True, False]
