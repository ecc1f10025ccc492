# SPDX-License-Identifier: Apache-2.0
"""spanhound correlate: lines of a real program's log get the ids of the spans in which they were written."""
import json
import os
import subprocess
import sys
import threading
import urllib.request

import pytest

import harness

# Each request is one thread's, and says in each line which it is: what correlate must not need.
SERVER = """
import http.server, json, logging, os, random, sys, threading, time
forms = {
    "python": "%(asctime)s %(levelname)s [%(process)d] tid=%(native)d %(message)s",
    "json": '{"time": %(created).6f, "pid": %(process)d, "thread_id": %(native)d, "message": "%(message)s", "n": 1.10}',
}
class Native(logging.Filter):
    def filter(self, record):
        record.native = threading.get_native_id()
        return True
handler = logging.FileHandler(sys.argv[2])
handler.addFilter(Native())
handler.setFormatter(logging.Formatter(forms[sys.argv[1]]))
logging.basicConfig(level=logging.INFO, handlers=[handler])

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        logging.info("begin %s", self.path)
        time.sleep(0.01 + random.random() * 0.02)
        logging.info("end %s", self.path)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""
CLIENTS, EACH = 6, 15


def correlate(*arguments, text=None, status=0, env=None):
    r = subprocess.run([harness.BINARY, "correlate", *map(str, arguments)], capture_output=True, timeout=harness.PATIENCE_S,
                       input=text.encode() if text is not None else None, env={**os.environ, **(env or {})})
    out, err = r.stdout.decode(), r.stderr.decode()
    assert r.returncode == status, err
    return out, err


def asked(port, client):
    for i in range(EACH):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/r/c{client}x{i}", timeout=harness.PATIENCE_S) as f:
            f.read()


@pytest.mark.parametrize("form", ["python", "json"])
def test_lines_of_a_server(spanhound, background, tmp_path, form):
    """Many requests at a time: a line is in the span of its own request, or in none."""
    log = tmp_path / "app.log"
    p = background(sys.executable, "-c", SERVER, form, str(log), stdout=subprocess.PIPE, text=True,
                   env={**os.environ, "DD_SERVICE": "shop", "DD_ENV": "prod", "DD_VERSION": "1.2"})
    port = int(p.stdout.readline())
    s = spanhound("--pid", p.pid)
    clients = [threading.Thread(target=asked, args=(port, c)) for c in range(CLIENTS)]
    for c in clients:
        c.start()
    for c in clients:
        c.join()
    s.wait_spans(CLIENTS * EACH)
    r = s.stop()
    span = {x["meta"]["http.url"].rsplit("/", 1)[1]: x for x in r.spans}
    assert len(span) == CLIENTS * EACH
    out, err = correlate("--spans", s.spans_path, log)
    before, after = log.read_text().splitlines(), out.splitlines()
    assert len(before) == len(after) == 2 * CLIENTS * EACH
    found = 0
    for old, new in zip(before, after):
        request = old.split("/r/")[1].split('"')[0]
        want = span[request]
        ids = {"dd.service": "shop", "dd.env": "prod", "dd.version": "1.2", "dd.trace_id": want["trace_id_128"],
               "dd.span_id": str(want["span_id"])}
        if new == old:
            continue
        found += 1
        if form == "json":
            assert json.loads(new) == {**json.loads(old), **ids}
            assert new.startswith(old[:-1]), "what was there stays as it was, to the digit"
        else:
            assert new == old + " [" + " ".join(f"{k}={v}" for k, v in ids.items()) + "]"
    # Two requests of one thread within the millisecond of a line leave it alone.
    assert found > len(before) * 0.9, err
    assert f"{len(before)} lines: {found} correlated" in err


def test_again_changes_nothing(spanhound, background, tmp_path):
    spans = tmp_path / "spans.json"
    spans.write_text('{"service":"a","name":"n","resource":"r","trace_id":7,"span_id":18446744073709551615,"parent_id":0,'
                     '"start":1795300261000000000,"duration":1000000000,"error":0,"meta":{},'
                     '"metrics":{"process_id":12,"thread.id":12},"type":"","trace_id_128":"00000000000000010000000000000007"}\n'
                     'not a span\n')
    text = "1795300261.5 [12] x\n2026-11-21 22:31:01.250 y\r\n\n{}\nno time\n1795300263 late\n{\"time\":1795300261} "
    once, err = correlate("--spans", spans, text=text, env={"TZ": "UTC"})
    ids = "dd.service=a dd.env= dd.version= dd.trace_id=00000000000000010000000000000007 dd.span_id=18446744073709551615"
    assert once.splitlines() == [
        f"1795300261.5 [12] x [{ids}]", f"2026-11-21 22:31:01.250 y [{ids}]", "", "{}", "no time", "1795300263 late",
        '{"time":1795300261,"dd.service":"a","dd.env":"","dd.version":"",'
        '"dd.trace_id":"00000000000000010000000000000007","dd.span_id":"18446744073709551615"} ']
    assert "y [" in once and once.count("\r\n") == 1 and not once.endswith("\n")
    assert "spans.json:2: no span" in err
    assert "7 lines: 3 correlated, 3 without a time, 1 in no span" in err
    twice, err = correlate("--spans", spans, "-", text=once)
    assert twice == once
    assert "3 that had ids already" in err


def test_mistakes(tmp_path):
    assert "--spans FILE" in correlate(status=2)[1]
    assert "No such file" in correlate("--spans", tmp_path / "none", status=1)[1]
    (tmp_path / "empty").write_text("")
    assert "has no spans" in correlate("--spans", tmp_path / "empty", status=1)[1]
