# SPDX-License-Identifier: Apache-2.0
"""Reads that wait in the kernel: on a socket in a map, what interrupts the wait may be told as EAGAIN, which no program expects there.
Such sockets are not put there."""
import os
import signal
import socket
import struct

import pytest

from harness import PATIENCE_S, wait_for
from test_inject import Client, blocks, clients, in_mode, need_inject

# Asks on a connection of its own, as long as a line comes: the first word says how it is read, and it says what came of it.
PROGRAM = """
import fcntl, os, signal, socket
signal.signal(signal.SIGUSR1, lambda *_: None)
def connect(timeout):
    return socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=timeout)
def turns(c):
    c.settimeout(None)
    return c
def turns_by_fcntl(c):
    fcntl.fcntl(c, fcntl.F_SETFL, fcntl.fcntl(c, fcntl.F_GETFL) & ~os.O_NONBLOCK)
    c = socket.socket(fileno=os.dup(c.fileno()))
    c.settimeout(None)
    return c
how = {"waits": lambda: connect(None), "polls": lambda: connect(60), "turns": lambda: turns(connect(60)),
       "fcntl": lambda: turns_by_fcntl(connect(60))}
while words := sys.stdin.readline().split():
    with how[words[0]]() as c:
        print("connected", flush=True)
        for line in iter(sys.stdin.readline, "over\\n"):
            c.sendall(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
            print("asked", flush=True)
            try:
                print(c.recv(100)[-2:].decode(), flush=True)
            except OSError as e:
                print(type(e).__name__, flush=True)
"""


class Peer:
    """Answers when it is told to."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.heads = []
        self.c = None

    def accept(self):
        self.c, _ = self.listener.accept()
        self.c.settimeout(PATIENCE_S)

    def head(self):
        got = b""
        while not got.endswith(b"\r\n\r\n"):
            got += self.c.recv(65536)
        self.heads.append(got)

    def answer(self):
        self.c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def reset(self):
        self.c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.c.close()


def sleeps(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
        return f.read().rsplit(")", 1)[1].split()[0] == "S"


class Asker:
    def __init__(self, background, port):
        self.client = Client(background, PROGRAM, port, timeout=None).go()
        self.pid = self.client.pid

    def say(self, word):
        self.client.process.stdin.write(word + "\n")
        self.client.process.stdin.flush()

    def connect(self, how, peer):
        self.say(how)
        peer.accept()
        assert self.client.line() == "connected"

    def ask(self, peer, what):
        """Interrupted while it waits; what it says then."""
        self.say("ask")
        assert self.client.line() == "asked"
        peer.head()
        wait_for(lambda: sleeps(self.pid), "it to wait")
        if what == "handler":
            os.kill(self.pid, signal.SIGUSR1)
        elif what == "stop":
            os.kill(self.pid, signal.SIGSTOP)
            wait_for(lambda: not sleeps(self.pid), "it to stand still")
            os.kill(self.pid, signal.SIGCONT)
            wait_for(lambda: sleeps(self.pid), "it to wait again")
        peer.reset() if what == "reset" else peer.answer()
        return self.client.line()


RIGHT = {"handler": "ok", "stop": "ok", "reset": "ConnectionResetError"}


@pytest.fixture
def peer():
    p = Peer()
    yield p
    p.listener.close()


def lacks(result):
    return "reads that wait" in need_inject(result)["plain_lacks"]


@pytest.mark.parametrize("how", ["waits", "polls"])
def test_interrupted(spanhound, background, peer, how):
    """Nothing that befalls a program is told otherwise than it would be."""
    a = Asker(background, peer.port)
    s = spanhound("--inject", "--pid", a.pid)
    for what, right in RIGHT.items():
        a.connect(how, peer)
        assert a.ask(peer, what) == right, what
        a.say("over")
    a.client.finish()
    result = s.stop()
    left_out = lacks(result) and how == "waits"
    assert result.summary["inject"]["reasons"] == {"blocking" if left_out else "done": 3}
    assert len(blocks(b"".join(peer.heads))) == (0 if left_out else 3) and len(clients(result)) == 3


@pytest.mark.parametrize("how", ["turns", "fcntl"])
def test_turns(spanhound, background, peer, how, info):
    """It did not wait when it was enrolled, and does now: it is taken out before its first request, and so would be the next one."""
    a = Asker(background, peer.port)
    s = spanhound("--inject", "--pid", a.pid)
    a.connect("polls", peer)
    assert a.ask(peer, "answer") == "ok"
    a.say("over")
    a.connect(how, peer)
    first = a.ask(peer, "answer")
    if "reads that wait" in info["injection"]["plain_lacks"]:
        s.wait_line("it uses reads that wait")  # what waits for an answer before that still waits there
    second = a.ask(peer, "handler")
    a.say("over")
    a.connect("polls", peer)
    assert a.ask(peer, "handler") == "ok"
    a.say("over")
    a.client.finish()
    result = s.stop()
    assert first == second == "ok"
    inject = result.summary["inject"]
    assert inject["reasons"]["done"] == (1 if lacks(result) else 4) and inject["processes"]["turned"] == lacks(result)


def test_older(spanhound, background, peer):
    a = Asker(background, peer.port)
    a.connect("waits", peer)
    s = spanhound("--inject", "--pid", a.pid)
    assert [a.ask(peer, what) for what in ("answer", "handler", "stop", "reset")] == ["ok", "ok", "ok", "ConnectionResetError"]
    a.say("over")
    a.client.finish()
    result = s.stop()
    assert result.summary["inject"]["reasons"] == ({"blocking": 1} if lacks(result) else {"older": 2, "done": 2})


def test_word(spanhound, background, peer, tmp_path):
    """A user may say that nothing interrupts them."""
    a = Asker(background, peer.port)
    s = spanhound(*in_mode(tmp_path, "plain"), "--pid", a.pid)
    a.connect("waits", peer)
    assert [a.ask(peer, "answer") for _ in range(3)] == ["ok"] * 3
    a.say("over")
    a.client.finish()
    result = s.stop()
    assert need_inject(result)["reasons"] == {"done": 3} and len(blocks(b"".join(peer.heads))) == 3
