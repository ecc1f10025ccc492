# SPDX-License-Identifier: Apache-2.0
"""HTTP clients as people write them, each asking programs/ledger for the same: started, they wait for a line, and say "right" once
every answer was. Arguments: port, requests, how many at a time, base and spread of the sizes."""
import os
import subprocess
import sys

import harness
import web
from agents import free_port
from harness import PATIENCE_S, target_environment

PERIOD = 65521

PYTHON = """
import itertools, requests, sys, threading
port, cnt, threads, base, spread = map(int, sys.argv[1:])
x, pattern = 1, bytearray()
for _ in range(65521):
    x = (x * 1103515245 + 12345) & 0xffffffff
    pattern.append(x >> 16 & 255)
pattern = bytes(pattern) * (2 + (base + spread) // 65521)
numbers, wrong = iter(range(cnt)), []
def work():
    try:
        with requests.Session() as s:
            s.trust_env = False
            for i in numbers:
                at, size, answer_at, answer = i % 65521, base + i * 37 % spread if base or i % 3 else 0, i * 7 % 65521, base + i * 61 % spread
                r = s.request("POST" if size else "GET", f"http://127.0.0.1:{port}/{i}/{at}/{size}/{answer_at}/{answer}",
                              data=pattern[at:at + size] if size else None, timeout=600)
                assert r.status_code == 200 and r.content == pattern[answer_at:answer_at + answer], i
    except BaseException as e:
        wrong.append(e)
        raise
sys.stdin.readline()
workers = [threading.Thread(target=work) for _ in range(threads)]
for w in workers:
    w.start()
for w in workers:
    w.join()
print("right" if not wrong else "wrong")
"""

NODE = """
const [port, cnt, threads, base, spread] = process.argv.slice(2).map(Number);
const period = 65521, times = 2 + Math.floor((base + spread) / period), pattern = Buffer.alloc(period * times);
let x = 1, next = 0;
for (let i = 0; i < period; i++) {
  x = (Math.imul(x, 1103515245) + 12345) >>> 0;
  pattern[i] = x >>> 16;
}
for (let n = 1; n < times; n++)
  pattern.copy(pattern, n * period, 0, period);
async function work() {
  for (let i; (i = next++) < cnt;) {
    const at = i % period, size = base || i % 3 ? base + i * 37 % spread : 0, answerAt = i * 7 % period, answer = base + i * 61 % spread;
    const r = await fetch(`http://127.0.0.1:${port}/${i}/${at}/${size}/${answerAt}/${answer}`,
                          size ? {method: "POST", body: pattern.subarray(at, at + size)} : {});
    if (r.status != 200 || !Buffer.from(await r.arrayBuffer()).equals(pattern.subarray(answerAt, answerAt + answer)))
      throw new Error(i);
  }
}
process.stdin.once("data", async () => {
  process.stdin.destroy();
  await Promise.all(Array.from({length: threads}, work));
  console.log("right");
});
"""

GO = """
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
)

func main() {
	var arg [5]int
	for i := range arg {
		arg[i], _ = strconv.Atoi(os.Args[i+1])
	}
	port, cnt, threads, base, spread := arg[0], arg[1], arg[2], arg[3], arg[4]
	const period = 65521
	once := make([]byte, period)
	x := uint32(1)
	for i := range once {
		x = x*1103515245 + 12345
		once[i] = byte(x >> 16)
	}
	pattern := bytes.Repeat(once, 2+(base+spread)/period)
	client := http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: threads}}
	next := int64(-1)
	bufio.NewReader(os.Stdin).ReadString('\\n')
	var all sync.WaitGroup
	for n := 0; n < threads; n++ {
		all.Add(1)
		go func() {
			var got bytes.Buffer
			for {
				i := int(atomic.AddInt64(&next, 1))
				if i >= cnt {
					break
				}
				at, size, answerAt, answer := i%period, 0, i*7%period, base+i*61%spread
				if base > 0 || i%3 > 0 {
					size = base + i*37%spread
				}
				method, body := "GET", io.Reader(nil)
				if size > 0 {
					method, body = "POST", bytes.NewReader(pattern[at:at+size])
				}
				q, _ := http.NewRequest(method, fmt.Sprintf("http://127.0.0.1:%d/%d/%d/%d/%d/%d", port, i, at, size, answerAt, answer), body)
				a, err := client.Do(q)
				if err != nil {
					panic(err)
				}
				got.Reset()
				_, err = got.ReadFrom(a.Body)
				a.Body.Close()
				if err != nil || !bytes.Equal(got.Bytes(), pattern[answerAt:answerAt+answer]) {
					panic(fmt.Sprint(i, err))
				}
			}
			all.Done()
		}()
	}
	all.Wait()
	fmt.Println("right")
}
"""

JAVA = """
import java.io.*;
import java.net.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;

public class Ask {
  public static void main(String[] a) throws Exception {
    int port = Integer.parseInt(a[0]), threads = Integer.parseInt(a[2]), base = Integer.parseInt(a[3]), spread = Integer.parseInt(a[4]);
    long cnt = Long.parseLong(a[1]);
    final int period = 65521;
    byte[] pattern = new byte[period * (2 + (base + spread) / period)];
    int x = 1;
    for (int i = 0; i < period; i++) {
      x = x * 1103515245 + 12345;
      pattern[i] = (byte) (x >>> 16);
    }
    for (int i = period; i < pattern.length; i++)
      pattern[i] = pattern[i - period];
    System.setProperty("http.maxConnections", "" + threads);
    AtomicLong next = new AtomicLong();
    System.in.read();
    ExecutorService pool = Executors.newFixedThreadPool(threads);
    List<Future<?>> all = new ArrayList<>();
    for (int n = 0; n < threads; n++)
      all.add(pool.submit(() -> {
        for (long i; (i = next.getAndIncrement()) < cnt;) {
          int at = (int) (i % period), answerAt = (int) (i * 7 % period), answer = base + (int) (i * 61 % spread);
          int size = base > 0 || i % 3 > 0 ? base + (int) (i * 37 % spread) : 0;
          URL url = new URL("http://127.0.0.1:" + port + "/" + i + "/" + at + "/" + size + "/" + answerAt + "/" + answer);
          HttpURLConnection c = (HttpURLConnection) url.openConnection();
          if (size > 0) {
            c.setRequestMethod("POST");
            c.setDoOutput(true);
            c.setFixedLengthStreamingMode(size);
            OutputStream out = c.getOutputStream();
            out.write(pattern, at, size);
            out.close();
          }
          InputStream in = c.getInputStream();
          byte[] got = in.readAllBytes();
          in.close();
          if (got.length != answer || !Arrays.equals(got, 0, answer, pattern, answerAt, answerAt + answer))
            throw new IllegalStateException("request " + i);
        }
        return null;
      }));
    for (Future<?> f : all)
      f.get();
    pool.shutdown();
    System.out.println("right");
  }
}
"""


class Asker:
    """One of them. `pids`: whom to trace; `hops`: spans of kind client for each request."""

    def __init__(self, command, tmp, pids=None, stop=None):
        self.log = open(os.path.join(tmp, "asker.log"), "w+b")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, env=target_environment())
        self.pids = pids or [self.process.pid]
        self.stop = stop

    def run(self, line=b"go\n", timeout=PATIENCE_S):
        out, _ = self.process.communicate(line, timeout=timeout)
        self.log.seek(0)
        assert self.process.returncode == 0 and out == b"right\n", (self.process.returncode, out[:200], self.log.read()[-2000:])

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.log.close()
        if self.stop:
            self.stop()


class Curl(Asker):
    """One curl for all requests, on one connection: half of them with a body. It waits for its options, and its output is looked at."""

    def __init__(self, tmp, port, cnt, base, spread):
        size = base + spread // 2
        x, body = 1, bytearray()
        for _ in range(PERIOD):
            x = (x * 1103515245 + 12345) & 0xffffffff
            body.append(x >> 16 & 255)
        with open(os.path.join(tmp, "body"), "wb") as f:
            f.write((bytes(body) * (1 + size // PERIOD))[:size])
        bodies, none = cnt // 2, 0 if base else cnt - cnt // 2
        post = f'url = "http://127.0.0.1:{port}/[1-{cnt - none}]/0/{size}/7/{size}"\ndata-binary = "@{tmp}/body"\nheader = "Expect:"\n'
        get = f'url = "http://127.0.0.1:{port}/[1-{none}]/0/0/7/{size}"\nnext\n' if none else ""
        assert bodies
        self.options = (get + "silent\nshow-error\n" + post + "silent\nshow-error\nfail\n").encode()
        super().__init__(["curl", "-q", "-s", "-S", "-K", "-"], tmp)
        self.checker = subprocess.Popen([harness.program_path("o2", "ledger"), "verify", str(cnt), "7", str(size)],
                                        stdin=self.process.stdout, stdout=subprocess.PIPE)
        self.process.stdout.close()
        self.process.stdout = None

    def run(self, line=b"", timeout=PATIENCE_S):
        self.process.stdin.write(self.options)
        self.process.stdin.close()
        self.process.wait(timeout)
        out, _ = self.checker.communicate(timeout=timeout)
        self.log.seek(0)
        assert self.process.returncode == 0 and out == b"right\n", (self.process.returncode, out, self.log.read()[-2000:])

    def end(self):
        super().end()
        self.checker.kill()
        self.checker.wait()


def curl(tmp, *args):
    web.needs("curl")
    port, cnt, _, base, spread = args
    return Curl(tmp, port, cnt, base, spread)


def python(tmp, *args):
    return Asker([sys.executable, "-c", PYTHON, *map(str, args)], tmp)


def node(tmp, *args):
    web.needs("node")
    return Asker(["node", harness.write(tmp, "ask.js", NODE), *map(str, args)], tmp)


def go(tmp, *args):
    return Asker([web.go_program(os.path.join(tmp, "go"), GO, "ask"), *map(str, args)], tmp)


def java(tmp, *args):
    web.needs("java")
    return Asker(["java", "-XX:TieredStopAtLevel=1", harness.write(tmp, "Ask.java", JAVA), *map(str, args)], tmp)


def ledger(how, tmp, port, cnt, threads, *sizes, **traced):
    return Asker([harness.program_path("o2", "ledger"), how, str(port), str(threads), str(cnt), *map(str, sizes)], tmp, **traced)


def nginx(tmp, port, *args):
    """A proxy in between: it is whom the ledger hears of."""
    web.needs("nginx")
    n = web.nginx(tmp, free_port(), 'location / { proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; '
                  'client_max_body_size 0; client_body_buffer_size 2m; }',
                  f"upstream up {{ server 127.0.0.1:{port}; keepalive 64; keepalive_requests 1000000000; }}")
    return ledger("ask", tmp, n.port, *args, pids=n.tree(), stop=n.stop)
