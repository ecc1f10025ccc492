# SPDX-License-Identifier: Apache-2.0
"""A thread that reads several requests before it does anything for the first of them: what it asks for then is for nobody, or for the
right one."""
import http.server
import socket
import subprocess
import sys
import threading

import web
from harness import PATIENCE_S, target_environment

# An event loop, as words say: "t" begins a turn, "r0" reads from its first caller what there is, "a0" asks for it on a connection that
# is there and answers it; "c0" begins to connect for it, "s0" looks how that went, "w0" asks there, "g0" reads that and answers.
PROGRAM = """
import select, socket, sys
s = socket.create_server(("127.0.0.1", 0))
print(s.getsockname()[1], flush=True)
loop, callers, paths, made = select.poll(), [], {}, {}
for _ in range(int(sys.argv[2])):
    callers.append(s.accept()[0])
    loop.register(callers[-1], select.POLLIN)
    print("accepted", flush=True)
def connect():
    c = socket.socket()
    c.setblocking(False)
    c.connect_ex(("127.0.0.1", int(sys.argv[1])))
    return c
def ask(c, n):
    c.sendall(f"GET {paths[n]} HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n".encode())
def answer(c, n):
    c.setblocking(True)
    assert c.recv(65536).endswith(b"ok")
    callers[n].sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
def read(n):
    got = callers[n].recv(65536)
    if b" /" in got:
        paths[n] = got.split()[1].decode()
kept = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
do = {"t": lambda n: loop.poll(), "r": read, "a": lambda n: (ask(kept, n), answer(kept, n)), "c": lambda n: made.update({n: connect()}),
      "s": lambda n: made[n].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), "w": lambda n: ask(made[n], n), "g": lambda n: answer(made.pop(n), n)}
for word in sys.stdin:
    do[word[0]](int(word[1]))
    print("done", flush=True)
"""


class Upstream(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


GET, POST = "GET {} HTTP/1.1\r\nHost: a\r\n\r\n", "POST {} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
# What all send, what is done with it (read twice it comes in two pieces), and which of them have to be linked.
TURNS = [
    (GET, "t0 r0 r1 a0 a1", ""),
    (POST, "t0 r0 a0 t1 r1 a1", "01"),
    (POST, "t0 r0 r1 a0 a1", ""),
    (POST, "t0 r0 r1 a1 a0", ""),
    (POST, "t0 r0 r1 r0 a0 a1", ""),
    (POST, "t0 r0 r1 r0 r1 a1 a0", ""),
    (POST, "t0 r0 t1 r1 a1 t0 r0 a0", "0"),
    # In between it goes on with what it connected for.
    (POST, "t0 r0 c0 t1 r1 s0 w0 r2 a1 a2 g0", "0"),
    (POST, "t0 r0 c0 t1 r1 w0 r2 a1 a2 g0", "0"),
    (GET, "t0 r0 c0 t1 r1 s0 w0 r2 a1 a2 g0", "0"),
]
CALLERS = 3


def pieces(request, cnt):
    cut = request.index("body") if cnt == 2 else len(request)
    return [request[:cut].encode(), request[cut:].encode()][:cnt]


def test_put_off(spanhound, background):
    up = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=up.serve_forever, daemon=True).start()
    p = background(sys.executable, "-c", PROGRAM, str(up.server_port), str(CALLERS), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                   text=True, env=target_environment())
    port, callers = int(p.stdout.readline()), []
    for _ in range(CALLERS):
        callers.append(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S))
        assert p.stdout.readline() == "accepted\n"
    s = spanhound("--pid", p.pid)
    for i, (request, words, _) in enumerate(TURNS):
        words = words.split()
        left = {n: pieces(request.format(f"/{i}/{n}"), words.count(f"r{n}")) for n in range(CALLERS) if f"r{n}" in words}
        sent = {n: 0 for n in left}
        for at, word in enumerate(words):
            n = int(word[1])
            if word[0] in "tr" and sent[n] == words[:at].count(f"r{n}"):  # there when it is waited for
                callers[n].sendall(left[n].pop(0))
                sent[n] += 1
            p.stdin.write(word + "\n")
            p.stdin.flush()
            assert p.stdout.readline() == "done\n"
        for n in left:
            assert callers[n].recv(65536).startswith(b"HTTP/1.1 200")
    p.stdin.close()
    p.wait(PATIENCE_S)
    up.shutdown()
    spans = s.stop().spans
    servers = {x["span_id"]: web.path_of(x) for x in spans if web.kind(x) == "server"}
    asked = {web.path_of(x): servers.get(x["parent_id"]) for x in spans if web.kind(x) == "client"}
    assert set(asked) == set(servers.values()) == {f"/{i}/{n}" for i, (_, words, _) in enumerate(TURNS) for n in range(CALLERS) if f"r{n}" in words}
    assert {path: of for path, of in asked.items() if of not in (None, path)} == {}
    assert {f"/{i}/{n}" for i, (_, _, linked) in enumerate(TURNS) for n in linked} <= {path for path, of in asked.items() if of}
