# SPDX-License-Identifier: Apache-2.0
"""How often a span hangs under the right one. The load's paths say which request is which (/r/ID at the first hop,
/r/ID/MODE at the next); the collector does not look at them. A link is right (the parent served the same ID), false (another
one), or missing."""
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

import harness
import web
from agents import free_port
from harness import SOAK, wait_for
from test_http import GO, attach, go_server, java_server, needs, node_server, python_server
from web import Server, path_of

pytestmark = pytest.mark.alone

FULL = (1, 8, 64, 256)
SMALL = (8, 64)
REQUESTS = 20_000 if SOAK else 1_000


@dataclass
class Score:
    right: int = 0
    false: int = 0
    missing: int = 0

    @property
    def cnt(self):
        return self.right + self.false + self.missing

    def __str__(self):
        return f"{self.right:7} right {self.false:5} false {self.missing:5} missing"


def chain(mode):
    return lambda tmp, port, next_port: Server([harness.program_path("o2", "chain"), mode, str(port), str(next_port)], port, tmp)


def leaf(tmp, port):
    return Server([harness.program_path("o2", "chain"), "thread", str(port)], port, tmp)


def unix_leaf(tmp, port):
    path = os.path.join(tmp, f"{port}.sock")
    return Server([harness.program_path("o2", "chain"), "thread", path], path, tmp)


def gunicorn_leaf(tmp, port):
    """A connection for each request; two workers take them from one socket."""
    harness.write(tmp, "app.py", '''def app(environ, start):
    start("200 OK", [("Content-Length", "3")])
    return [b"ok\\n"]
''')
    path = os.path.join(tmp, f"{port}.sock")
    g = Server([os.path.join(os.path.dirname(sys.executable), "gunicorn"), "-w", "2", "--backlog", "1024", "-b", f"unix:{path}",
                "app:app"], path, tmp, cwd=tmp)
    wait_for(lambda: len(g.tree()) == 3, "two workers")
    return g


def nginx_hop(tmp, port, next_port, workers=1):
    needs("nginx")
    next_server = f"unix:{next_port}" if isinstance(next_port, str) else f"127.0.0.1:{next_port}"
    return web.nginx(tmp, port, "location / { rewrite ^(.*)$ $1/nginx break; proxy_pass http://up; proxy_http_version 1.1; "
                     'proxy_set_header Connection ""; }', f"upstream up {{ server {next_server}; keepalive 64; }}", workers)


PYTHON_THREADED = """
    import http.client, http.server, sys, threading
    local = threading.local()
    class H(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        def do_GET(self):
            if not hasattr(local, "c"):
                local.c = http.client.HTTPConnection("127.0.0.1", int(sys.argv[2]))
            local.c.request("GET", self.path + "/python")
            local.c.getresponse().read()
            self.send_response(200)
            self.send_header("Content-Length", "3")
            self.end_headers()
            self.wfile.write(b"ok\\n")
        def log_message(self, *_):
            pass
    class S(http.server.ThreadingHTTPServer):
        request_queue_size = 1024
    S(("127.0.0.1", int(sys.argv[1])), H).serve_forever()
    """

PYTHON_PREFORK = PYTHON_THREADED.replace("    import http", "    import os, http", 1).replace(
    'S(("127.0.0.1", int(sys.argv[1])), H).serve_forever()', '''s = S(("127.0.0.1", int(sys.argv[1])), H)
    any(os.fork() == 0 for _ in range(3))
    s.serve_forever()''')

PYTHON_ASYNCIO = """
    import aiohttp, sys
    from aiohttp import web
    async def start(app):
        app["c"] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    async def serve(request):
        async with request.app["c"].get("http://127.0.0.1:" + sys.argv[2] + request.path + "/asyncio") as r:
            await r.read()
        return web.Response(text="ok\\n")
    app = web.Application()
    app.on_startup.append(start)
    app.router.add_get("/{tail:.*}", serve)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
    """


def python_hop(source):
    return lambda tmp, port, next_port: python_server(tmp, port, source, next_port)


def score(spans, services):
    """({service: Score of its client spans' parents}, Score of the joins)."""
    by_id = {s["span_id"]: s for s in spans}
    of = {service: Score() for service in services}
    joins = Score()
    for s in spans:
        path, parent = path_of(s).split("/"), by_id.get(s["parent_id"])
        if web.kind(s) == "client":
            which = of[s["service"]]
            if not parent:
                which.missing += 1
            elif web.kind(parent) == "server" and path_of(parent).split("/") == caller(path):
                which.right += 1
            else:
                which.false += 1
        elif len(path) > 3:
            if not parent:
                joins.missing += 1
            elif web.kind(parent) == "client" and path_of(parent) == path_of(s):
                joins.right += 1
            else:
                joins.false += 1
        if s["parent_id"] and parent and parent["trace_id_128"] != s["trace_id_128"]:
            raise AssertionError(f"{s} hangs under {parent} of another trace")
    return of, joins


def caller(path):
    """/r/ID/MODE and /y/r/ID: asked by who serves /r/ID."""
    return [""] + path[2:] if path[1] == "y" else path[:-1]


@pytest.fixture
def hops(tmp_path):
    running = []

    def start(make, *args):
        s = make(str(tmp_path), free_port(), *args)
        running.append(s)
        return s

    yield start
    for s in running:
        s.stop()


def load(port, connections, cnt, first=1):
    p = subprocess.run([harness.program_path("o2", "chain"), "load", str(port), str(connections), str(cnt), str(first)],
                       capture_output=True, text=True, timeout=600)
    assert p.returncode == 0, p.stderr


def spans_so_far(s):
    with open(s.spans_path, "rb") as f:
        return f.read().count(b"\n")


def measure(spanhound, hops, make, cnt, concurrency, options=(), make_leaf=leaf):
    """Load through one hop of this make to a leaf."""
    last = hops(make_leaf)
    first = hops(make, last.port)
    pids = ",".join(str(p) for s in (first, last) for p in s.tree())
    load(first.port, min(concurrency, 8), 50)  # connections older than the attach
    # What is measured is who causes what; load and collector share two cores here, and the default ring may overflow.
    s = spanhound("--pid", pids, "--ring-size", "64m", *options)
    load(first.port, concurrency, cnt, 1000)
    wait_for(lambda: spans_so_far(s) >= 3 * cnt, "what is asked for after the answer")
    result = s.stop(timeout=300)
    assert not result.dropped, result.dropped
    spans = result.spans
    clients = [x for x in spans if web.kind(x) == "client"]
    servers = [x for x in spans if web.kind(x) == "server"]
    assert len(clients) == cnt and len(servers) == 2 * cnt, (len(clients), len(servers))
    of, joins = score(spans, {x["service"] for x in clients})
    parents = Score(*(sum(getattr(x, k) for x in of.values()) for k in ("right", "false", "missing")))
    return parents, joins, result


def report(name, concurrency, cnt, parents, joins):
    line = f"{name:22} {concurrency:4} x {cnt:6}  parents {parents}  joins {joins}"
    print(line)
    path = os.environ.get("SPANHOUND_TABLE")
    if path:
        with open(path, "a", encoding="utf-8") as f:
            f.write(line + "\n")
    return line


EXACT = {"thread": chain("thread"), "epoll": chain("epoll"), "nginx": nginx_hop, "nginx, 3 workers": lambda t, p, n: nginx_hop(t, p, n, 3),
         "python threads": python_hop(PYTHON_THREADED), "python prefork": python_hop(PYTHON_PREFORK)}
SHOWN = {"asyncio": python_hop(PYTHON_ASYNCIO), "node": node_server, "java": java_server}


def soak_but(names, quick):
    """All of them; without SPANHOUND_SOAK only those that are quick."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.soak) for name in names]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("concurrency", FULL if SOAK else SMALL)
@pytest.mark.parametrize("name", EXACT)
def test_exact(spanhound, hops, name, concurrency):
    cnt = REQUESTS
    if name.startswith("python") and concurrency > 64:
        pytest.skip("Python does not serve so many at once")
    parents, joins, _ = measure(spanhound, hops, EXACT[name], cnt, concurrency)
    line = report(name, concurrency, cnt, parents, joins)
    assert parents.cnt == joins.cnt == cnt
    assert parents.false <= cnt * 1e-5 and parents.right >= cnt * 0.9999, line
    assert joins.false == 0 and joins.right >= cnt * 0.9999, line


UNIX = {"thread, unix": (chain("thread"), unix_leaf), "epoll, unix": (chain("epoll"), unix_leaf),
        "nginx, unix": (nginx_hop, unix_leaf), "nginx, gunicorn": (nginx_hop, gunicorn_leaf)}


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("concurrency", FULL if SOAK else SMALL[1:])
@pytest.mark.parametrize("name", soak_but(UNIX, ("epoll, unix", "nginx, gunicorn")))
def test_unix_sockets(spanhound, hops, name, concurrency):
    """The next hop is asked over a Unix socket."""
    needs("nginx")
    cnt = REQUESTS
    make, make_leaf = UNIX[name]
    parents, joins, _ = measure(spanhound, hops, make, cnt, concurrency, (), make_leaf)
    line = report(name, concurrency, cnt, parents, joins)
    assert parents.false == joins.false == 0, line
    assert parents.right >= cnt * 0.9999, line
    # Of a connection older than the attach the first request may be read before its writer's system call returns.
    assert joins.right >= cnt * 0.9999 - min(concurrency, 8), line


def test_unix_sockets_of_strangers(spanhound, hops):
    """Clients that are not traced come and go beside one that is: their sockets have the addresses that others had."""
    last = hops(unix_leaf)
    first = hops(chain("epoll"), last.port)
    s = attach(spanhound, first, last)
    with ThreadPoolExecutor(3) as pool:
        rounds = [pool.submit(load, last.port, 4, 25, 100_000 + 100 * i) for i in range(16)]
        load(first.port, 8, 500, 1000)
        for r in rounds:
            r.result()
    spans = s.stop().spans
    of, joins = score(spans, {x["service"] for x in spans})
    assert (joins.right, joins.false, joins.missing) == (500, 0, 0), joins
    strangers = [x for x in spans if int(path_of(x).split("/")[2]) >= 100_000]
    assert len(strangers) == 400 and not any(x["parent_id"] for x in strangers)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("concurrency", FULL if SOAK else SMALL)
def test_pool_without_a_declaration(spanhound, hops, concurrency):
    """What a pool does is not seen: a link that is missing is fine, one that is false is not."""
    parents, joins, _ = measure(spanhound, hops, chain("pool"), REQUESTS, concurrency)
    line = report("pool", concurrency, REQUESTS, parents, joins)
    assert parents.false <= REQUESTS * 1e-4, line
    assert joins.false == 0 and joins.right >= REQUESTS * 0.9999, line


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("concurrency", FULL if SOAK else SMALL)
def test_pool_with_a_declaration(spanhound, hops, tmp_path, concurrency):
    path = harness.write(tmp_path, "list.yaml", "handoffs:\n  - {from: p_chain_enqueue, to: p_chain_run, key: {at: 1}}\n")
    parents, joins, _ = measure(spanhound, hops, chain("pool"), REQUESTS, concurrency, ("-c", path))
    line = report("pool, declared", concurrency, REQUESTS, parents, joins)
    assert parents.cnt == joins.cnt == REQUESTS
    assert parents.false <= REQUESTS * 1e-5 and parents.right >= REQUESTS * 0.9999, line
    assert joins.false == 0 and joins.right >= REQUESTS * 0.9999, line


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("concurrency", FULL if SOAK else SMALL[1:])
def test_timers(spanhound, hops, concurrency):
    """A loop that puts requests off: what its timers ask for is not for what was read in the same turn."""
    parents, joins, _ = measure(spanhound, hops, chain("timers"), REQUESTS, concurrency)
    line = report("epoll, timers", concurrency, REQUESTS, parents, joins)
    assert parents.false == joins.false == 0, line
    assert joins.right >= REQUESTS * 0.9999, line


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("concurrency", FULL if SOAK else SMALL[1:])
@pytest.mark.parametrize("name", ["store", "shared"])
def test_store(spanhound, hops, name, concurrency):
    """A loop that asks a store first, in a protocol we do not know: what it reads there it goes on with. When all share one
    connection nobody knows whose answer it is."""
    parents, joins, _ = measure(spanhound, hops, chain(name), REQUESTS, concurrency)
    line = report(f"epoll, {name}", concurrency, REQUESTS, parents, joins)
    assert parents.false == joins.false == 0, line
    # Connections to the store that are older than the attach are not known to answer: who asks there first may be put off, and
    # nothing is linked meanwhile.
    assert name == "shared" or parents.right >= REQUESTS - 8 * concurrency, line
    assert joins.right >= REQUESTS * 0.9999, line


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("concurrency", FULL if SOAK else SMALL[1:])
def test_go(spanhound, hops, concurrency):
    """From the goroutine that serves to the one that writes, by what Go's HTTP client is seen to do."""
    parents, joins, _ = measure(spanhound, hops, go_server, REQUESTS, concurrency)
    line = report("go", concurrency, REQUESTS, parents, joins)
    assert parents.false == joins.false == 0, line
    assert parents.right >= REQUESTS * 0.9999 and joins.right >= REQUESTS * 0.9999, line


# A fourth each is asked for by a goroutine that lives on, by one of a pool, by one that is waited for, by the handler itself.
GO_ELSEWHERE = GO.replace("func main() {", """
func ask(path string) {
	a, err := http.Get("http://127.0.0.1:" + os.Args[2] + "/y" + path)
	if err == nil {
		io.Copy(io.Discard, a.Body)
		a.Body.Close()
	}
}

func main() {
	n, work := atomic.Int64{}, make(chan string, 1000)
	for i := 0; i < 8; i++ {
		go func() {
			for path := range work {
				ask(path)
			}
		}()
	}
	http.HandleFunc("/r/", func(w http.ResponseWriter, r *http.Request) {
		switch n.Add(1) % 4 {
		case 0:
			go ask(r.URL.Path)
		case 1:
			work <- r.URL.Path
		case 2:
			done := make(chan bool)
			go func() { ask(r.URL.Path); done <- true }()
			<-done
		default:
			ask(r.URL.Path)
		}
		fmt.Fprint(w, "ok")
	})""").replace('"strings"', '"strings"\n\t"sync/atomic"')


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("strip", [False, True])
def test_go_elsewhere(spanhound, hops, strip):
    """Goroutines of the handler's, and of a pool, make no links, nor does a program without symbols; none is false."""
    make = lambda tmp, port, upstream: go_server(tmp, port, upstream, GO_ELSEWHERE, ["-ldflags=-s -w"] if strip else [])
    parents, joins, _ = measure(spanhound, hops, make, 5000, 64)
    line = report("go, elsewhere, stripped" if strip else "go, elsewhere", 64, 5000, parents, joins)
    assert parents.false == joins.false == 0, line
    assert joins.right == 5000, line
    assert parents.right == (0 if strip else 5000 / 4), line


@pytest.mark.timeout(300)
def test_one_at_a_time(spanhound, hops):
    """asyncio works for a request some turns after it was read: known while there is no other one."""
    parents, joins, _ = measure(spanhound, hops, SHOWN["asyncio"], 200, 1)
    assert parents.right == joins.right == 200, (parents, joins)


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("concurrency", FULL)
@pytest.mark.parametrize("name", SHOWN)
def test_shown(spanhound, hops, name, concurrency):
    """How many are right has no bar: for the table of what is exact and what is not. False is none."""
    parents, joins, _ = measure(spanhound, hops, SHOWN[name], 5000, concurrency)
    line = report(name, concurrency, 5000, parents, joins)
    assert parents.false == joins.false == 0, line


@pytest.mark.timeout(300)
def test_long_chain(spanhound, hops):
    """Four hops of four kinds: one trace per request, one line from the first to the last."""
    needs("nginx")
    d = hops(leaf)
    c = hops(chain("epoll"), d.port)
    b = hops(chain("thread"), c.port)
    a = hops(nginx_hop, b.port)
    s = attach(spanhound, a, b, c, d)
    load(a.port, 16, 300)
    result = s.stop()
    assert len(result.spans) == 300 * 7 and not result.dropped
    traces = {}
    for x in result.spans:
        traces.setdefault(x["trace_id_128"], []).append(x)
    assert len(traces) == 300
    for spans in traces.values():
        by_parent = {x["parent_id"]: x for x in spans}
        assert len(by_parent) == 7
        line, at = [], by_parent[0]
        while at:
            line.append(at)
            at = by_parent.get(at["span_id"])
        assert [path_of(x).count("/") for x in line] == [2, 3, 3, 4, 4, 5, 5], line
        assert len({path_of(x).split("/")[2] for x in line}) == 1


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["epoll", "thread"])
def test_loss_makes_no_false_links(spanhound, hops, name):
    """A ring that is much too small: requests are lost, all of them counted, and what is left is still linked right."""
    last = hops(leaf)
    first = hops(EXACT[name], last.port)
    s = spanhound("--pid", f"{first.pid},{last.pid}", "--ring-size", "64k")
    os.kill(s.pid, 19)  # nobody reads it for a while
    load(first.port, 64, 3000, 1000)
    os.kill(s.pid, 18)
    load(first.port, 64, 3000, 5000)
    result = s.stop(timeout=300)
    assert result.dropped, "the ring was never full"
    assert set(result.dropped) <= {"ring_full", "exchange_torn"}, result.dropped
    assert result.summary["seen"] == 3 * 6000, "each is counted, to the unit"
    of, joins = score(result.spans, {x["service"] for x in result.spans})
    parents = Score(*(sum(getattr(x, k) for x in of.values()) for k in ("right", "false", "missing")))
    report(name + ", with loss", 64, 6000, parents, joins)
    assert parents.false == joins.false == 0, (parents, joins)
    assert parents.right > 100 and joins.right > 100, "what came after the ring was read again"
