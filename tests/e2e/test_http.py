# SPDX-License-Identifier: Apache-2.0
"""HTTP/1 servers and clients as people run them: what their spans say, and what hangs under what."""
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.request

import pytest

import harness
import web
from agents import free_port
from harness import wait_for
from web import Server, check, check_joined, check_request, check_sane, needs, path_of, paths, status


@pytest.fixture
def servers(tmp_path):
    """servers(web.nginx, ...) -> web.Server; stopped at the end of the test."""
    running = []

    def start(make, *args, **kwargs):
        s = make(str(tmp_path), free_port(), *args, **kwargs)
        running.append(s)
        return s

    yield start
    for s in running:
        s.stop()


def get(port, path, method="GET", body=None, headers=None):
    """(status, body) of one request on a connection of its own, made by this process, which is not traced."""
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        c.request(method, path, body, headers or {})
        r = c.getresponse()
        return r.status, r.read()
    finally:
        c.close()


def attach(spanhound, *servers, **kwargs):
    return spanhound("--pid", ",".join(str(p) for s in servers for p in s.tree()), **kwargs)


def stop(s, cnt):
    """Once so many spans are there."""
    s.wait_spans(cnt)
    got = web.seen(s.stop())
    check_sane(got.spans)
    return got


# --- nginx ----------------------------------------------------------------------------------------------------------

def test_nginx_return(spanhound, servers):
    needs("nginx")
    n = servers(web.nginx, 'location / { return 200 "hello\\n"; } location /teapot { return 418; } location /bad { return 500 "no"; }')
    s = attach(spanhound, n)
    assert get(n.port, "/some/123/thing?a=b&password=secret")[0] == 200
    assert get(n.port, "/teapot")[0] == 418
    assert get(n.port, "/bad")[0] == 500
    assert get(n.port, "/", "HEAD")[0] == 200
    got = stop(s, 4)
    first, teapot, bad, head = got.servers
    check_request(first, "GET", "/some/123/thing?a=b&<redacted>", 200, 0, 6)
    check(first, service="nginx", http__useragent=None, parent_id=0, resource="GET /some/?/thing")
    check_request(teapot, "GET", "/teapot", 418)
    check_request(bad, "GET", "/bad", 500, 0, 2, error=1)
    check_request(head, "HEAD", "/", 200, 0, 0)
    assert len({x["trace_id"] for x in got.spans}) == 4 == len(got.spans)


@pytest.mark.parametrize("sendfile", ["on", "off"])
def test_nginx_file(spanhound, servers, tmp_path, sendfile):
    needs("nginx")
    sizes = {"empty": 0, "small": 100, "large": 3_000_000}
    for name, size in sizes.items():
        harness.write(tmp_path, name, "f" * size)
    n = servers(web.nginx, f"root {tmp_path}; sendfile {sendfile};")
    s = attach(spanhound, n)
    c = http.client.HTTPConnection("127.0.0.1", n.port)
    for name, size in sizes.items():
        c.request("GET", f"/{name}")
        assert len(c.getresponse().read()) == size
    c.request("GET", "/none")
    assert c.getresponse().read()
    c.close()
    got = stop(s, 4)
    for span, (name, size) in zip(got.servers, sizes.items()):
        check_request(span, "GET", f"/{name}", 200, 0, size)
    check(got.servers[3], http__status_code="404", resource="GET 404", error=0)


UPSTREAM = "upstream up {{ server 127.0.0.1:{port}; keepalive 8; }}"
PROXY = 'location / { proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; }'


def proxy_and_origin(servers, origin='location / { return 200 "origin"; }'):
    o = servers(web.nginx, origin)
    return servers(web.nginx, PROXY, UPSTREAM.format(port=o.port)), o


def test_nginx_proxy(spanhound, servers):
    """Two nginx in a row over a kept connection: one trace per request, each span under the one before."""
    needs("nginx")
    p, o = proxy_and_origin(servers)
    s = attach(spanhound, p, o)
    for i in range(50):
        assert get(p.port, f"/a/{i}") == (200, b"origin")
    got = stop(s, 150)
    assert len(got.spans) == 150
    by_id = {x["span_id"]: x for x in got.spans}
    for client, server in got.pairs:
        check_joined(client, server)
        check(client, spanhound__link="connection" if client["meta"]["spanhound.link"] == "connection" else "thread",
              out__host="up")
        check_request(client, "GET", path_of(server), 200, 0, 6)
        front = by_id[client["parent_id"]]
        assert path_of(front) == path_of(client) == path_of(server)
        check(front, span__kind="server", parent_id=0, trace_id=client["trace_id"])
        assert front["start"] <= client["start"] and front["duration"] >= client["duration"]
    assert sum("spanhound.connect_ns" in c["metrics"] for c in got.clients) == 1, "kept alive"


@pytest.mark.parametrize("headers,trace_id,parent_id,priority,origin", [
    ({"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, "0af7651916cd43dd8448eb211c80319c",
     0xb7ad6b7169203331, 1, None),
    ({"x-datadog-trace-id": "1234567890123456789", "x-datadog-parent-id": "987654321", "x-datadog-sampling-priority": "2",
      "x-datadog-origin": "synthetics", "x-datadog-tags": "_dd.p.tid=640cfd8d00000000,_dd.p.dm=-4"},
     f"640cfd8d00000000{1234567890123456789:016x}", 987654321, 2, "synthetics"),
])
def test_callers_trace_goes_on(spanhound, servers, headers, trace_id, parent_id, priority, origin):
    """The first server hangs under the caller; the header is passed on unchanged, but the second one hangs under the span that
    sent it."""
    needs("nginx")
    p, o = proxy_and_origin(servers)
    s = attach(spanhound, p, o)
    for _ in range(5):
        assert get(p.port, "/called", headers=headers)[0] == 200
    got = stop(s, 15)
    fronts = [x for x in got.servers if x["parent_id"] == parent_id]
    assert len(fronts) == 5 and len(got.spans) == 15
    for front in fronts:
        check(front, trace_id_128=trace_id, spanhound__link="header", _sampling_priority_v1=priority)
    for x in got.spans:
        check(x, trace_id_128=trace_id)
    for client, server in got.pairs:
        check_joined(client, server)
        assert client["parent_id"] in {f["span_id"] for f in fronts}
    tops = [x for x in got.spans if "_dd.origin" in x["meta"]]
    assert bool(tops) == bool(origin) and all(x["meta"]["_dd.origin"] == origin for x in tops)


def test_nginx_upstream_refused(spanhound, servers):
    needs("nginx")
    p = servers(web.nginx, PROXY, UPSTREAM.format(port=free_port()))
    s = attach(spanhound, p)
    assert get(p.port, "/refused")[0] == 502
    got = stop(s, 2)
    server, = got.servers
    client, = got.clients
    check_request(server, "GET", "/refused", 502, error=1)
    check(client, error=1, parent_id=server["span_id"], trace_id=server["trace_id"])
    assert "refused" in client["meta"]["error.message"].lower() and client["meta"]["error.type"]


def test_nginx_upstream_resets_and_times_out(spanhound, servers):
    """An origin of ours that closes, or stays silent."""
    needs("nginx")
    origin = socket.create_server(("127.0.0.1", 0))
    p = servers(web.nginx, "location / { proxy_pass http://127.0.0.1:%d; proxy_read_timeout 300ms; }" % origin.getsockname()[1])
    s = attach(spanhound, p)
    c = http.client.HTTPConnection("127.0.0.1", p.port)
    c.request("GET", "/closed")
    conn, _ = origin.accept()
    assert conn.recv(1000)
    conn.close()
    assert c.getresponse().read() and True
    c.request("GET", "/silent")
    conn, _ = origin.accept()
    assert conn.recv(1000)
    r = c.getresponse()
    assert r.status == 504 and r.read()
    conn.close()
    c.close()
    origin.close()
    got = stop(s, 4)
    for server, code in zip(got.servers, (502, 504)):
        check_request(server, "GET", path_of(server), code, error=1)
        client, = [x for x in got.clients if x["parent_id"] == server["span_id"]]
        check(client, error=1, http__status_code=None)
        assert client["meta"]["error.message"]
    assert got.servers[1]["duration"] >= 290e6


def test_nginx_client_leaves(spanhound, servers):
    """nginx's 499: the client is gone before the origin answers."""
    needs("nginx")
    origin = socket.create_server(("127.0.0.1", 0))
    p = servers(web.nginx, "location / { proxy_pass http://127.0.0.1:%d; }" % origin.getsockname()[1])
    s = attach(spanhound, p)
    c = socket.create_connection(("127.0.0.1", p.port))
    c.sendall(b"GET /left HTTP/1.1\r\nHost: h\r\n\r\n")
    conn, _ = origin.accept()
    assert conn.recv(1000)
    c.close()
    assert conn.recv(1000) == b""  # nginx leaves, too
    conn.close()
    origin.close()
    got = stop(s, 2)
    server, client = got.servers[0], got.clients[0]
    check(server, spanhound__aborted="client", error=0, http__status_code=None)
    check(client, parent_id=server["span_id"], error=1)


def test_nginx_chunked(spanhound, servers, tmp_path):
    """Chunks of an origin of unknown length through nginx, large and small."""
    needs("nginx")
    o = servers(python_server, CHUNKY)
    p = servers(web.nginx, PROXY, UPSTREAM.format(port=o.port))
    s = attach(spanhound, p, o)
    for cnt, size in ((1, 5), (3, 1000), (50, 20000)):
        assert get(p.port, f"/chunks?n={cnt}&size={size}") == (200, b"c" * cnt * size)
    got = stop(s, 9)
    assert len(got.spans) == 9
    for client, server in got.pairs:
        check_joined(client, server)
    for x in got.spans:
        cnt, size = map(int, re.findall(r"\d+", path_of(x)))
        check(x, http__status_code="200", error=0)
        assert cnt * size <= x["metrics"]["http.response.content_length"] <= cnt * (size + 40) + 100


# --- Python ---------------------------------------------------------------------------------------------------------

def python_server(tmp, port, source, *args, env=None):
    path = harness.write(tmp, f"server_{port}.py", textwrap.dedent(source))
    return Server([sys.executable, path, str(port), *map(str, args)], port, tmp, env=env)


CHUNKY = """
    import http.server, re, sys
    class H(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        def do_GET(self):
            n, size = map(int, re.findall(r"\\\\d+", self.path))
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for _ in range(n):
                self.wfile.write(b"%x\\\\r\\\\n%s\\\\r\\\\n" % (size, b"c" * size))
            self.wfile.write(b"0\\\\r\\\\n\\\\r\\\\n")
        def log_message(self, *_):
            pass
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), H).serve_forever()
    """.replace("\\\\", "\\")

# Serves /x by asking the next hop for /y/x with `requests`, and says who it was.
RELAY = """
    import http.server, sys, requests
    class H(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        session = requests.Session()
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            r = requests.post("http://127.0.0.1:" + sys.argv[2] + "/y" + self.path, data=body * 2)
            answer = r.content * 3
            self.send_response(r.status_code)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
        def log_message(self, *_):
            pass
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), H).serve_forever()
    """


def test_python_http_server_and_requests(spanhound, servers):
    needs("nginx")
    o = servers(web.nginx, 'location / { return 201 "abc"; } location /y/bad { return 503; }')
    p = servers(python_server, RELAY, o.port)
    s = attach(spanhound, p, o)
    assert get(p.port, "/one", "POST", b"12345") == (201, b"abc" * 3)
    assert get(p.port, "/bad", "POST", b"12345")[0] == 503
    got = stop(s, 6)
    assert len(got.spans) == 6
    for (client, server), path, code in zip(got.pairs, ("/one", "/bad"), (201, 503)):
        check_joined(client, server)
        check_request(client, "POST", "/y" + path, code, 10, error=int(code >= 500))
        front, = [x for x in got.servers if x["span_id"] == client["parent_id"]]
        check_request(front, "POST", path, code, 5, error=int(code >= 500))
        check(client, spanhound__link="thread", http__useragent=client["meta"].get("http.useragent"))
        check(server, service="nginx")
        assert "python-requests" in server["meta"]["http.useragent"]


def test_python_package_says_where_its_source_is(spanhound, servers, tmp_path):
    """DD_MAIN_PACKAGE: what ddtrace itself finds, in the same environment."""
    (tmp_path / "lib" / "my_shop-1.2.dist-info").mkdir(parents=True)
    harness.write(tmp_path / "lib" / "my_shop-1.2.dist-info", "METADATA", textwrap.dedent("""\
        Metadata-Version: 2.1
        Name: My.Shop
        Version: 1.2
        Project-URL: Homepage, https://shop.example
        Project-URL: source_code_link, https://me:token@git.example/shop.git#0123abc&x=1

        Project-URL: source_code_link, https://git.example/other#4
        """))
    env = {"DD_MAIN_PACKAGE": "my-shop", "PYTHONPATH": str(tmp_path / "lib")}
    theirs = subprocess.run([sys.executable, "-c", "from ddtrace.internal import gitmetadata\nprint(*gitmetadata.get_git_tags())"],
                            env={**os.environ, **env}, capture_output=True, text=True, check=True).stdout.split()
    p = servers(python_server, CHUNKY, env=env)
    s = attach(spanhound, p)
    assert get(p.port, "/1/2")[1] == b"cc"
    server, = stop(s, 1).spans
    assert theirs == [server["meta"][k] for k in ("_dd.git.repository_url", "_dd.git.commit.sha", "_dd.python_main_package")]
    assert theirs == ["https://git.example/shop.git", "0123abc", "my-shop"]


def test_gunicorn_prefork(spanhound, servers, tmp_path):
    """Workers forked before the attach; each request is one worker's, and so is what it asks."""
    needs("nginx")
    o = servers(web.nginx, 'location / { return 200 "abc"; }')
    harness.write(tmp_path, "app.py", textwrap.dedent(f"""
        import os, urllib.request
        def app(environ, start):
            urllib.request.urlopen("http://127.0.0.1:{o.port}/y" + environ["PATH_INFO"]).read()
            body = str(os.getpid()).encode()
            start("200 OK", [("Content-Length", str(len(body)))])
            return [body]
        """))
    g = servers(lambda tmp, port: Server([os.path.join(os.path.dirname(sys.executable), "gunicorn"), "-w", "3", "-b",
                                          f"127.0.0.1:{port}", "app:app"], port, tmp, cwd=tmp))
    wait_for(lambda: len(g.tree()) == 4, "three workers")
    s = attach(spanhound, g, o)
    pids = {path: int(get(g.port, path)[1]) for path in (f"/g/{x}" for x in "abcdefghij")}
    got = stop(s, 30)
    assert len(got.spans) == 30
    for client, server in got.pairs:
        check_joined(client, server)
        front, = [x for x in got.servers if x["span_id"] == client["parent_id"]]
        assert path_of(client) == "/y" + path_of(front) == path_of(server)
        check(client, spanhound__link="thread", thread__id=pids[path_of(front)])
        check(front, process_id=pids[path_of(front)])


# --- other runtimes -------------------------------------------------------------------------------------------------

NODE = """
const http = require('http');
const agent = new http.Agent({keepAlive: true});
http.createServer((req, res) => {
  const up = http.request({port: process.argv[3], path: '/y' + req.url, agent, method: 'PUT'}, r => {
    let n = 0;
    r.on('data', d => n += d.length);
    r.on('end', () => res.end('got ' + n));
  });
  up.end('body');
}).listen(+process.argv[2], '127.0.0.1');
"""

GO = """
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		q, _ := http.NewRequest("PUT", "http://127.0.0.1:"+os.Args[2]+"/y"+r.URL.Path, strings.NewReader("body"))
		a, err := http.DefaultClient.Do(q)
		if err != nil {
			w.WriteHeader(502)
			return
		}
		b, _ := io.ReadAll(a.Body)
		a.Body.Close()
		fmt.Fprintf(w, "got %d", len(b))
	})
	http.ListenAndServe("127.0.0.1:"+os.Args[1], nil)
}
"""

JAVA = """
import com.sun.net.httpserver.*;
import java.net.*;
import java.util.concurrent.*;

public class Serve {
  public static void main(String[] args) throws Exception {
    HttpServer s = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[0])), 0);
    s.setExecutor(Executors.newFixedThreadPool(4));
    s.createContext("/", e -> {
      e.getRequestBody().readAllBytes();
      HttpURLConnection c = (HttpURLConnection) new URL("http://127.0.0.1:" + args[1] + "/y" + e.getRequestURI()).openConnection();
      c.setRequestMethod("PUT");
      c.setDoOutput(true);
      c.getOutputStream().write("body".getBytes());
      byte[] got = c.getInputStream().readAllBytes();
      byte[] b = ("got " + got.length).getBytes();
      e.sendResponseHeaders(200, b.length);
      e.getResponseBody().write(b);
      e.close();
    });
    s.start();
  }
}
"""


def node_server(tmp, port, upstream):
    needs("node")
    return Server(["node", harness.write(tmp, "serve.js", NODE), str(port), str(upstream)], port, tmp)


def go_server(tmp, port, upstream, source=GO, flags=()):
    path = web.go_program(os.path.join(tmp, "go"), source, flags=flags)
    return Server([path, str(port), str(upstream)], port, tmp)


def java_server(tmp, port, upstream):
    needs("java")
    return Server(["java", "-XX:TieredStopAtLevel=1", harness.write(tmp, "Serve.java", JAVA), str(port), str(upstream)], port, tmp)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("runtime", [node_server, go_server, java_server])
def test_runtimes(spanhound, servers, runtime):
    """Serve, and ask the next hop: every request is seen on both sides; what hangs under what is measured in test_linkage."""
    needs("nginx")
    o = servers(web.nginx, 'location / { return 200 "0123456789"; }')
    r = servers(runtime, o.port)
    s = attach(spanhound, r, o)
    names = [f"/r/{x}" for x in "abcdefgh"]
    for path in names:
        assert get(r.port, path) == (200, b"got 10")
    got = stop(s, 24)
    assert sorted(paths(got.clients)) == sorted("/y" + x for x in names)
    assert sorted(paths(got.servers)) == sorted(names + ["/y" + x for x in names])
    for client, server in got.pairs:
        check_joined(client, server)
        check_request(client, "PUT", path_of(server), 200, 4, 10)
    fronts = {x["span_id"]: x for x in got.servers if not path_of(x).startswith("/y")}
    for x in fronts.values():
        check_request(x, "GET", path_of(x), 200, 0, 6)
    for client in got.clients:
        if client["parent_id"]:
            assert "/y" + path_of(fronts[client["parent_id"]]) == path_of(client), "a link that is false"


@pytest.mark.parametrize("mpm", ["prefork", "event"])
def test_apache(spanhound, servers, mpm):
    needs("apache2")
    if not os.path.exists(f"/usr/lib/apache2/modules/mod_mpm_{mpm}.so"):
        pytest.skip(f"no mpm_{mpm}")
    a = servers(web.apache, mpm)
    wait_for(lambda: len(a.tree()) > (3 if mpm == "prefork" else 1), "workers")
    s = attach(spanhound, a)
    c = http.client.HTTPConnection("127.0.0.1", a.port)
    for path, code in (("/small.txt", 200), ("/large.bin", 200), ("/none", 404), ("/gone", 302)):
        c.request("GET", path, headers={"User-Agent": "me"})
        r = c.getresponse()
        assert (r.status, bool(r.read())) == (code, True)
    c.close()
    assert get(a.port, "/small.txt", "HEAD")[0] == 200
    got = stop(s, 5)
    assert len(got.spans) == 5
    for x, (path, code, size) in zip(got.servers, (("/small.txt", 200, 100), ("/large.bin", 200, 300_000), ("/none", 404, None),
                                                   ("/gone", 302, None), ("/small.txt", 200, 0))):
        check_request(x, "HEAD" if size == 0 else "GET", path, code, 0, size)
    check(got.servers[0], http__useragent="me", service="apache2")


# --- clients --------------------------------------------------------------------------------------------------------

def processes_so_far(s):
    """What a summary on demand says; whoever is counted is being traced."""
    s.process.send_signal(signal.SIGUSR1)
    found = re.findall(r"^spanhound: (\d+) process", s.stderr, re.M)
    return int(found[-1]) if found else 0


def test_curl(spanhound, servers):
    """Started after the attach, found by its arguments; a process lives for one request."""
    needs("nginx", "curl")
    n = servers(web.nginx, 'location / { return 200 "hello\\n"; }')
    mark = f"mark-{n.port}"
    s = spanhound("--cmdline", f"*curl*{mark}*", "--pid", n.pid)
    for i in range(3):
        # It is given its URL when it is known that its arguments were read.
        curl = subprocess.Popen(["curl", "-sS", "-H", f"X: {mark}", "-K", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        wait_for(lambda: processes_so_far(s) == 2 + i, "curl's being traced")
        assert curl.communicate(f"url = http://127.0.0.1:{n.port}/c/{'abc'[i]}\n", timeout=60)[0] == "hello\n"
    got = stop(s, 6)
    assert paths(got.clients) == ["/c/a", "/c/b", "/c/c"]
    for client, server in got.pairs:
        check_joined(client, server)
        check_request(client, "GET", path_of(server), 200, 0, 6)
        check(client, service="curl", parent_id=0)
        assert client["metrics"]["spanhound.connect_ns"] > 0


@pytest.mark.alone
@pytest.mark.parametrize("tool,keep", [("ab", False), ("ab", True), ("wrk", True)])
def test_load(spanhound, servers, tool, keep):
    """A load tool at full speed: each request it counts is a span, or is accounted for."""
    needs("nginx", tool)
    n = servers(web.nginx, 'location / { return 200 "hello\\n"; }')
    s = attach(spanhound, n)
    if tool == "ab":
        p = subprocess.run(["ab", "-n", "5000", "-c", "8", *(["-k"] if keep else []), n.url + "/load"], capture_output=True, text=True,
                           timeout=100)
        assert p.returncode == 0 and "Failed requests:        0" in p.stdout, p.stdout + p.stderr
        asked = 5000
    else:
        p = subprocess.run(["wrk", "-t1", "-c16", "-d1s", n.url + "/load"], capture_output=True, text=True, timeout=100)
        asked = int(re.search(r"(\d+) requests in", p.stdout).group(1))
    result = s.stop()
    seen = result.summary["seen"]
    assert asked <= seen <= asked + 16, "wrk stops in the middle of what it asked"
    assert result.summary["exported"] + sum(result.dropped.values()) == seen
    if tool == "ab":
        assert len(result.spans) == asked and not result.dropped
    for x in result.spans:
        check(x, resource="GET /load", span__kind="server")


# --- with a probe list ----------------------------------------------------------------------------------------------

def test_function_spans_and_requests(spanhound, servers, tmp_path):
    """A C server with a probe list: what it calls while it serves hangs under the request; what it asks inside a probed function
    hangs under that function."""
    needs("nginx")
    o = servers(web.nginx, 'location / { return 200 "abc"; }')
    c = servers(lambda tmp, port: Server([harness.program_path("o2", "chain"), "thread", str(port), str(o.port)], port, tmp))
    s = spanhound("--pid", f"{c.pid},{o.pid}", "-f", "p_chain_*")
    for x in "abc":
        assert get(c.port, f"/r/{x}")[0] == 200
    got = stop(s, 3 * 5)
    by_id = {x["span_id"]: x for x in got.spans}
    for client, server in got.pairs:
        check_joined(client, server)
        ask = by_id[client["parent_id"]]
        check(ask, resource="p_chain_ask", trace_id=client["trace_id"])
        handle = by_id[ask["parent_id"]]
        check(handle, resource="p_chain_handle")
        front = by_id[handle["parent_id"]]
        check(front, span__kind="server", parent_id=0)
        assert path_of(front) + "/thread" == path_of(client)
        assert front["start"] <= handle["start"] + 1_000_000 and handle["start"] <= ask["start"] <= client["start"]
    assert len(got.spans) == 15
