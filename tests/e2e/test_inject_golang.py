# SPDX-License-Identifier: Apache-2.0
"""Trace context in the requests of Go programs: which goroutine writes is known before the bytes pass."""
import hashlib
import random
import re
import socket
import subprocess
import sys
import threading
import urllib.request

import pytest

import web
from agents import free_port
from harness import PATIENCE_S, SOAK, target_environment
from test_inject import BLOCK, Receiver, blocks, check_blocks, clients, in_mode, need_inject
from test_tcp_option import SERVER, no_headers

PROGRAM = """
package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func right(a *http.Response, err error, body []byte) {
	check(err)
	got, err := io.ReadAll(a.Body)
	check(err)
	a.Body.Close()
	if want := strings.Repeat(fmt.Sprintf("%x", sha256.Sum256(body)), 64); string(got) != want {
		panic(fmt.Sprint(a.Status, " ", len(got)))
	}
}

// Requests one after the other on one connection; of several clients at a time each has its own.
func ask(at string, cnt int, name string) {
	c := http.Client{Transport: &http.Transport{}}
	for i := 0; i < cnt; i++ {
		body := bytes.Repeat([]byte("GET / HTTP/1.1\\r\\n\\r\\n"), i%3*i%500)
		if i%3 == 0 {
			a, err := c.Get(at + name + strconv.Itoa(i))
			right(a, err, nil)
		} else {
			a, err := c.Post(at + name + strconv.Itoa(i), "text/plain", bytes.NewReader(body))
			right(a, err, body)
		}
	}
}

// A body of so many bytes that is read while it is sent.
func stream(at string, cnt int64) {
	body := make([]byte, cnt)
	for i := range body {
		body[i] = byte(i * 7 + i >> 8)
	}
	q, err := http.NewRequest("PUT", at+"stream", io.MultiReader(bytes.NewReader(body[:1000]), bytes.NewReader(body[1000:])))
	check(err)
	q.ContentLength = cnt
	a, err := http.DefaultClient.Do(q)
	right(a, err, body)
}

// What each handler asks the next for: itself, in a goroutine of which nobody knows whose it is, as a proxy.
func serve(port, at string) {
	get := func(r *http.Request) []byte {
		a, err := http.Get(at + "y" + r.URL.Path)
		check(err)
		b, err := io.ReadAll(a.Body)
		check(err)
		a.Body.Close()
		return b
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { w.Write(get(r)) })
	http.HandleFunc("/else/", func(w http.ResponseWriter, r *http.Request) {
		done := make(chan []byte)
		go func() { done <- get(r) }()
		w.Write(<-done)
	})
	upstream, err := url.Parse(at)
	check(err)
	http.Handle("/proxy/", httputil.NewSingleHostReverseProxy(upstream))
	check(http.ListenAndServe("127.0.0.1:"+port, nil))
}

// Whatever comes, both ways: read by splice().
func proxy(port, at string) {
	l, err := net.Listen("tcp", "127.0.0.1:"+port)
	check(err)
	for {
		c, err := l.Accept()
		check(err)
		u, err := net.Dial("tcp", at)
		check(err)
		go func() {
			io.Copy(u, c)
			u.(*net.TCPConn).CloseWrite()
		}()
		go func() {
			io.Copy(c, u)
			c.Close()
			u.Close()
		}()
	}
}

func main() {
	at := "http://127.0.0.1:" + os.Args[2] + "/"
	switch os.Args[1] {
	case "serve":
		serve(os.Args[3], at)
	case "proxy":
		proxy(os.Args[3], "127.0.0.1:" + os.Args[2])
	}
	bufio.NewReader(os.Stdin).ReadString('\\n')
	cnt, err := strconv.Atoi(os.Args[3])
	check(err)
	threads, err := strconv.Atoi(os.Args[4])
	check(err)
	var all sync.WaitGroup
	for n := 0; n < threads; n++ {
		all.Add(1)
		go func(n int) {
			ask(at, cnt, fmt.Sprintf("%d/", n))
			all.Done()
		}(n)
	}
	all.Wait()
	size, err := strconv.ParseInt(os.Args[5], 10, 64)
	check(err)
	stream(at, size)
	fmt.Println("right")
}
"""
LARGE = 10 << 20


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return web.go_program(str(tmp_path_factory.mktemp("go")), PROGRAM, "golang")


@pytest.fixture
def receiver():
    made = []

    def start():
        made.append(Receiver())
        return made[-1]
    yield start
    for r in made:
        r.close()


@pytest.fixture
def server(program, tmp_path):
    made = []

    def start(how, upstream):
        port = free_port()
        made.append(web.Server([program, how, str(upstream), str(port)], port, str(tmp_path)))
        return made[-1]
    yield start
    for s in made:
        s.stop()


def request(port, n, i):
    """As the program's ask() writes it."""
    body = b"GET / HTTP/1.1\r\n\r\n" * (i % 3 * i % 500)
    return b"%s /%d/%d HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: Go-http-client/1.1\r\n%sAccept-Encoding: gzip\r\n\r\n%s" % (
        b"POST" if i % 3 else b"GET", n, i, port,
        b"Content-Length: %d\r\nContent-Type: text/plain\r\n" % len(body) if i % 3 else b"", body)


@pytest.mark.timeout(600 if SOAK else 120)
def test_client(spanhound, background, program, receiver):
    """GET and POST, kept connections, many at a time: one block each, right behind the request line, and nothing else is changed."""
    cnt, threads = (2000, 16) if SOAK else (30, 4)
    r = receiver()
    c = background(program, "ask", str(r.port), str(cnt), str(threads), str(LARGE if SOAK else 1 << 20), stdin=subprocess.PIPE,
                   stdout=subprocess.PIPE, text=True, env=target_environment())
    s = spanhound("--pid", c.pid, "--inject")
    out, _ = c.communicate("go\n", timeout=PATIENCE_S)
    assert c.returncode == 0 and out == "right\n"
    result = s.stop()
    inject = need_inject(result)
    assert inject["reasons"] == {"done": cnt * threads + 1}
    seen = 0
    for stream in r.streams:
        assert all(stream[:m.start()].endswith(b" HTTP/1.1\r\n") for m in blocks(stream))
        sent, at = BLOCK.sub(b"", bytes(stream)), 0
        while at < len(sent) and not sent.startswith(b"PUT /stream ", at):
            n, i = map(int, re.match(rb"[A-Z]+ /(\d+)/(\d+) ", sent[at:at + 32]).groups())
            want = request(r.port, n, i)
            assert sent.startswith(want, at)
            at += len(want)
            seen += 1
    assert seen == cnt * threads
    check_blocks(blocks(r.all), clients(result))


@pytest.mark.timeout(600 if SOAK else 120)
def test_cause(spanhound, receiver, server):
    """What a handler asks for is in the trace of the request that it serves: that of the caller's headers. What it has another goroutine
    ask for begins a trace: whose it is nobody knows."""
    r = receiver()
    hop = server("serve", r.port)
    s = spanhound("--pid", hop.pid, "--inject")
    cnt, threads = (500, 16) if SOAK else (12, 4)
    headers = {f"/{n}/{i}": f"{n + 1:032x}-{n * cnt + i + 1:016x}" for n in range(threads) for i in range(cnt)}
    failed = []

    def ask(n):
        try:
            with socket.create_connection(("127.0.0.1", hop.port)) as c:
                for i in range(cnt):
                    path = f"{['', '/else', '', '/proxy'][i % 4]}/{n}/{i}"
                    c.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\ntraceparent: 00-{headers[f'/{n}/{i}']}-01\r\n\r\n".encode())
                    got = b""
                    while not got.endswith(b"\r\n0\r\n\r\n") and b"\r\n\r\n" + hashlib.sha256().hexdigest().encode() * 64 not in got:
                        data = c.recv(65536)
                        assert data, got
                        got += data
        except (AssertionError, OSError) as e:
            failed.append(e)

    askers = [threading.Thread(target=ask, args=(n,)) for n in range(threads)]
    for t in askers:
        t.start()
    for t in askers:
        t.join()
    assert not failed
    result = s.stop()
    inject = need_inject(result)
    forwarded = threads * (cnt // 4)
    assert inject["reasons"] == {"done": threads * cnt - forwarded, "replaced": forwarded}
    servers = {x["span_id"]: x for x in result.spans if x["meta"]["span.kind"] == "server"}
    asked = {x["span_id"]: x for x in clients(result)}
    assert len(servers) == len(asked) == threads * cnt
    heads = re.findall(rb"GET (/\S+) HTTP/1.1\r\n(.*?)\r\n\r\n", r.all, re.S)
    assert len(heads) == threads * cnt
    for path, head in heads:
        trace, span = re.search(rb"(?i)traceparent: 00-([0-9a-f]{32})-([0-9a-f]{16})-01", head).groups()
        name = re.search(r"/\d+/\d+$", path.decode())[0]
        client = asked.pop(int(span, 16))
        assert web.path_of(client) == path.decode() and client["trace_id_128"] == trace.decode()
        if b"/else/" in path:
            assert client["parent_id"] == 0 and trace.decode() != headers[name][:32]
            continue
        above = servers[client["parent_id"]]
        assert headers[name] == f"{trace.decode()}-{above['parent_id']:016x}"
        assert web.path_of(above).endswith(name) and above["trace_id_128"] == trace.decode()
    assert not asked


def exchange(port, body):
    """One request through a proxy, on a connection of its own."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as c:
        sender = threading.Thread(target=c.sendall, args=(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body,))
        sender.start()
        got = b""
        while len(got) < 4096 or len(got) < got.index(b"\r\n\r\n") + 4 + 4096:
            data = c.recv(65536)
            assert data, got
            got += data
        sender.join()
    return got.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("mode", [pytest.param("auto", marks=pytest.mark.soak), "verdict"])
def test_proxy(spanhound, receiver, server, tmp_path, mode):
    """A proxy that reads by splice(): in no mode that does not carry it, even if it was asked for. What it hands on is no request of
    its own."""
    rng = random.Random(1)
    r = receiver()
    p = server("proxy", r.port)
    s = spanhound(*in_mode(tmp_path, mode), "--pid", p.pid)
    sizes = [0, 1, 5000, 300_000, 1 << 20, LARGE] * 20 if SOAK else [0, 5000, 1 << 20]
    for size in sizes:
        body = rng.randbytes(size)
        assert exchange(p.port, body) == hashlib.sha256(body).hexdigest().encode() * 64
    inject = need_inject(s.stop())
    assert not r.errors and b"traceparent" not in r.all
    assert inject["enrolled"] == len(sizes) or inject["processes"]["no_mode"] == 1
    assert set(inject["reasons"]) <= {"spliced", "partial", "large"} and sum(inject["reasons"].values()) in (0, len(sizes))


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_option(spanhound, background, server, tmp_path):
    """In a TCP option, what another goroutine writes than the one that asks is told likewise, and heard."""
    last = background(sys.executable, "-c", SERVER, "127.0.0.1", str(tmp_path / "received"), stdout=subprocess.PIPE, text=True)
    hop = server("serve", int(last.stdout.readline()))
    far = server("serve", hop.port)
    cnt = 200
    made = [spanhound("--pid", p.pid, "-c", no_headers(tmp_path), wait_ready=False) for p in (far, hop, last)]
    for s in made:
        s.wait_ready()
    for i in range(cnt):
        with urllib.request.urlopen(f"{far.url}{['', '/proxy'][i % 2]}/{i}", timeout=PATIENCE_S) as a:
            assert a.read() == b"ok"
    results = [s.stop() for s in made]
    spans = {s["span_id"]: s for r in results for s in r.spans}
    assert len(spans) == 5 * cnt
    for x in results[-1].spans:
        links = []
        while x:
            links.append(x["meta"].get("spanhound.link"))
            x = spans.get(x["parent_id"])
        assert links == ["option", "handoff", "option", "handoff", None]
    assert [r.summary["tcp_option"]["counts"] for r in results] == [{"sent": cnt}, {"sent": cnt, "heard": cnt}, {"heard": cnt}]
