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

# In one turn of its loop, as words say: "r0" reads from its first caller what there is, "a0" asks for it, and answers it.
PROGRAM = """
import socket, sys
s = socket.create_server(("127.0.0.1", 0))
print(s.getsockname()[1], flush=True)
callers, paths = [], {}
for _ in range(2):
    callers.append(s.accept()[0])
    print("accepted", flush=True)
kept = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
for word in sys.stdin:
    n = int(word[1])
    if word[0] == "r":
        got = callers[n].recv(65536)
        if b" /" in got:
            paths[n] = got.split()[1].decode()
    else:
        kept.sendall(f"GET {paths[n]} HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n".encode())
        assert kept.recv(65536).endswith(b"ok")
        callers[n].sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
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
# What both send, and what is done with it; read twice it comes in two pieces.
TURNS = [(GET, "r0 r1 a0 a1"), (POST, "r0 r1 a0 a1"), (POST, "r0 r1 a1 a0"), (POST, "r0 r1 r0 a0 a1"), (POST, "r0 r1 r0 a1 a0"),
         (POST, "r0 r1 r0 r1 a0 a1"), (POST, "r0 r1 r1 r0 a1 a0")]


def pieces(request, cnt):
    cut = request.index("body") if cnt == 2 else len(request)
    return [request[:cut].encode(), request[cut:].encode()][:cnt]


def test_put_off(spanhound, background):
    up = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=up.serve_forever, daemon=True).start()
    p = background(sys.executable, "-c", PROGRAM, str(up.server_port), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                   env=target_environment())
    port, callers = int(p.stdout.readline()), []
    for _ in range(2):
        callers.append(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S))
        assert p.stdout.readline() == "accepted\n"
    s = spanhound("--pid", p.pid)
    for i, (request, turn) in enumerate(TURNS):
        left = [pieces(request.format(f"/{i}/{n}"), turn.count(f"r{n}")) for n in range(2)]
        for word in turn.split():
            if word[0] == "r":
                callers[int(word[1])].sendall(left[int(word[1])].pop(0))
            p.stdin.write(word + "\n")
            p.stdin.flush()
            assert p.stdout.readline() == "done\n"
        for c in callers:
            assert c.recv(65536).startswith(b"HTTP/1.1 200")
    p.stdin.close()
    p.wait(PATIENCE_S)
    up.shutdown()
    spans = s.stop().spans
    servers = {x["span_id"]: web.path_of(x) for x in spans if web.kind(x) == "server"}
    asked = [x for x in spans if web.kind(x) == "client"]
    assert len(asked) == len(servers) == 2 * len(TURNS)
    assert [(web.path_of(x), servers[x["parent_id"]]) for x in asked if servers.get(x["parent_id"], web.path_of(x)) != web.path_of(x)] == []
