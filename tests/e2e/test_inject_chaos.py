# SPDX-License-Identifier: Apache-2.0
"""Somebody is killed, at any moment, while requests get headers: spanhound, a client, the server. Whoever lives goes on: no
connection hangs, no byte of a request or an answer is another, and a header is there whole and right, or is not there."""
import glob
import os
import random
import re
import subprocess
import sys
import time

import pytest

import harness
from harness import PATIENCE_S, target_environment, wait_for
from test_inject import BLOCK, need_inject

# Keeps the bytes of each connection in a file, and answers each request with a digest of its body. "open": how many there are.
SERVER = """
import hashlib, os, re, socket, sys, threading
port, folder = int(sys.argv[1]), sys.argv[2]
now = set()

def serve(c, log):
    stream, at = bytearray(), 0
    with c:
        while True:
            end = stream.find(b"\\r\\n\\r\\n", at)
            length = re.search(rb"\\r\\nContent-Length: ([0-9]+)", stream[at:end]) if end >= 0 else None
            whole = end + 4 + int(length[1]) if length else 0
            try:
                if not length or len(stream) < whole:
                    data = c.recv(65536)
                    if not data:
                        break
                    os.write(log, data)
                    stream += data
                    continue
                answer = hashlib.sha256(stream[end + 4:whole]).hexdigest().encode() * 64
                c.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(answer), answer))
            except OSError:
                break
            del stream[:whole]
    now.discard(c)
    os.close(log)

def accept(listener):
    cnt = 0
    while True:
        c, _ = listener.accept()
        now.add(c)
        log = os.open(f"{folder}/stream-{os.getpid()}-{cnt}", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        threading.Thread(target=serve, args=(c, log), daemon=True).start()
        cnt += 1

listener = socket.create_server(("127.0.0.1", port), backlog=64)
threading.Thread(target=accept, args=(listener,), daemon=True).start()
print(listener.getsockname()[1], flush=True)
while sys.stdin.readline():
    print(len(now), flush=True)
"""

# Each thread on a connection of its own, which it may lose, but for no other reason than that its server is gone. "count": how
# many requests each has had answered.
CLIENT = """
import hashlib, os, socket, sys, threading, time
port, threads, patience = (int(a) for a in sys.argv[1:4])
done, over = [0] * threads, threading.Event()

def end(why, status):
    print(why, flush=True)
    os._exit(status)

def body_of(n, i):
    return bytes([i & 255, n]) * (i * 37 % 3000) * (8 if i % 40 == 7 else 1)

def connect():
    while not over.is_set():
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=patience)
        except ConnectionError:
            time.sleep(0.005)

def ask(c, n, i):
    body = body_of(n, i)
    head = b"POST /%d/%d HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: %d\\r\\n\\r\\n" % (n, i, len(body))
    want = hashlib.sha256(body).hexdigest().encode() * 64
    want = b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(want), want)
    got = b""
    try:
        for part in ([head, body] if i % 3 == 0 and body else [head + body]):
            c.sendall(part)
        while len(got) < len(want):
            data = c.recv(65536)
            if not data:
                break
            got += data
    except ConnectionError:
        pass
    except TimeoutError:
        end("hung", 5)
    if not want.startswith(got):
        end("wrong", 4)
    return got == want

def work(n):
    c, i = connect(), 0
    while not over.is_set():
        if ask(c, n, i):
            done[n] += 1
        else:
            c.close()
            c = connect()
        i += 1

workers = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
for w in workers:
    w.start()
for line in sys.stdin:
    if line == "end\\n":
        break
    print(*done, flush=True)
over.set()
for w in workers:
    w.join()
end("right", 0)
"""

CLIENTS, THREADS = 2, 3
MORE = 12  # requests that every connection has to have had answered after each death
REQUEST = re.compile(rb"POST /([0-9]+)/([0-9]+) HTTP/1\.1\r\n((?:" + BLOCK.pattern + rb")?)Host: a\r\nContent-Length: ([0-9]+)\r\n\r\n")


class Asked:
    """A program that answers each line with one."""

    def __init__(self, background, path, *args):
        self.process = background(sys.executable, path, *map(str, args), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                  env=target_environment())
        self.pid = self.process.pid

    def ask(self, what):
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self.line()

    def line(self):
        line = self.process.stdout.readline().strip()
        assert line not in ("", "hung", "wrong"), f"{self.process.args} said {line!r}, status {self.process.wait(PATIENCE_S)}"
        return line

    def counts(self):
        return [int(x) for x in self.ask("count").split()]

    def kill(self):
        self.process.kill()
        self.process.wait()


class World:
    def __init__(self, background, spanhound, tmp):
        self.background, self.start, self.tmp = background, spanhound, str(tmp)
        self.tag = f"chaos{os.getpid()}"
        self.scripts = {name: harness.write(self.tmp, f"{self.tag}-{name}.py", text)
                        for name, text in (("server", SERVER), ("client", CLIENT))}
        self.port = 0
        self.serve()
        self.clients = [self.client() for _ in range(CLIENTS)]
        self.trace()

    def serve(self):
        self.server = Asked(self.background, self.scripts["server"], self.port, self.tmp)
        self.port = int(self.server.line())

    def client(self):
        return Asked(self.background, self.scripts["client"], self.port, THREADS, PATIENCE_S)

    def trace(self):
        self.s = self.start("--name", f"{self.tag}-*", "--inject")

    def progress(self, more):
        """Every connection of every client goes on."""
        before = [c.counts() for c in self.clients]
        wait_for(lambda: all(now >= then + more for c, b in zip(self.clients, before) for now, then in zip(c.counts(), b)),
                 f"{more} more answers for each of {before}")

    def die(self, who):
        if who == "spanhound":
            self.s.kill()
            self.trace()
        elif who == "server":
            self.server.kill()
            self.serve()
        else:
            self.clients.pop(0).kill()
            self.clients.append(self.client())

    def check_streams(self):
        """What each server received is what was sent, but for whole right headers. The ids of these, each there once."""
        ids, requests = [], 0
        for path in glob.glob(f"{self.tmp}/stream-*"):
            with open(path, "rb") as f:
                stream, at = f.read(), 0
            while m := REQUEST.match(stream, at):
                n, i = int(m[1]), int(m[2])
                body = bytes([i & 255, n]) * (i * 37 % 3000) * (8 if i % 40 == 7 else 1)
                assert int(m[m.lastindex]) == len(body), (path, m[0])
                got = stream[m.end():m.end() + len(body)]
                assert body.startswith(got) and (len(got) == len(body) or m.end() + len(got) == len(stream)), (path, at)
                at = m.end() + len(got)
                requests += 1
                if m[3]:
                    self.check_block(m[3], ids)
            # Of the last request perhaps not all.
            assert at == len(stream) or (stream.startswith(b"POST /"[:len(stream) - at], at) and b"\r\n\r\n" not in stream[at:]), \
                (path, at, stream[at:at + 400])
        assert len(set(ids)) == len(ids)
        return ids, requests

    @staticmethod
    def check_block(block, ids):
        m = BLOCK.fullmatch(block)
        assert m and int(m["id"]) == int(m["trace"], 16) & (1 << 64) - 1 and int(m["parent"]) == int(m["span"], 16), block
        assert b"_dd.p.tid=" + m["trace"][:16] in m["tags"].split(b","), block
        ids.append(int(m["span"], 16))


def chaos(background, spanhound, tmp_path, deaths, seed):
    rng = random.Random(seed)
    w = World(background, spanhound, tmp_path)
    w.progress(MORE)
    for who in deaths:
        # At any moment: of a request, of an answer, of an attach.
        w.progress(rng.randrange(MORE))
        time.sleep(rng.random() / 200)
        w.die(who)
        w.progress(MORE)
        # Nothing of the dead is left: the server knows of no other connections than there are.
        wait_for(lambda: int(w.server.ask("open")) == CLIENTS * THREADS, "the server's connections to be those there are")
    for c in w.clients:
        assert c.ask("end") == "right" and c.process.wait(PATIENCE_S) == 0
    result = w.s.stop()
    ids, requests = w.check_streams()
    need_inject(result)
    assert requests >= len(deaths) * MORE * CLIENTS * THREADS
    # Those of spanhounds that were killed are told by nobody; those of the last one all are, but where a server died of them.
    made = [x for x in result.spans if x["name"] == "http.client.request"]
    told = len({x["span_id"] for x in made} & set(ids))
    failed = sum(x["error"] for x in made)
    done = result.summary["inject"]["reasons"].get("done", 0)
    assert told <= done <= told + failed, (told, done, failed)
    return len(ids), told


def test_deaths(background, spanhound, tmp_path):
    # Connections older than a spanhound are none of its: the last death gives it some of its own.
    ids, told = chaos(background, spanhound, tmp_path, ["spanhound", "client", "server", "spanhound", "server"], 1)
    assert ids > told > 0


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(4))
def test_many_deaths(background, spanhound, tmp_path, seed):
    rng = random.Random(100 + seed)
    ids, _ = chaos(background, spanhound, tmp_path, [rng.choice(["spanhound", "client", "server"]) for _ in range(50)], seed)
    assert ids
