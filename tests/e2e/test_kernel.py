# SPDX-License-Identifier: Apache-2.0
"""What depends on the kernel it runs on: every way to link that it has, a clear word about those it has not. Runs on
this machine's kernel and, with `make test-kernels`, on those of distributions."""
import http.client
import os
import subprocess
import sys
import time

import pytest

import harness
import truth
from harness import program_path, spanhound_once, write

EVERYTHING = """
probes:
  - function: p_string
    args: {s: {at: 1, type: string, max: 32}, n: {at: 2, type: i32}}
    return: {type: i64, tag: result}
    when: n > 0 && s starts_with "E" || n > 1
    min_duration: 1ns
    rate: 1000000/s
"""


@pytest.mark.parametrize("link", harness.LINKS)
def test_link(spanhound, program, info, link):
    """A kind of link either works or is refused with the reason, before the target is touched."""
    p = program("calls", "nested")
    why = harness.link_missing(info, link)
    if why:
        status, _, err = spanhound_once("attach", "--pid", p.pid, "-f", "p_*", "--link", link)
        assert status == 1 and link in err and why in err, err
        assert p.run().status == 0
        return
    s = spanhound("--pid", p.pid, "-f", "p_*", "--link", link)
    p.run()
    r = s.stop()
    truth.assert_same_tree(p.calls, r.spans, r.offset_ns)
    assert r.summary["link"] == link and not r.dropped


def test_best_link_is_chosen(spanhound, program, info):
    best = next(k for k in harness.LINKS if not harness.link_missing(info, k))
    r = spanhound("--pid", program("calls", "nested").pid, "-f", "p_leaf").stop()
    assert r.summary["link"] == best


def test_every_feature_of_the_kernel_half(spanhound, program, tmp_path):
    """Conditions, strings, return values and limits in one probe: the longest way through the programs."""
    p = program("args", "values")
    s = spanhound("--pid", p.pid, "-c", write(tmp_path, "probes.yaml", EVERYTHING))
    p.run()
    r = s.stop()
    assert p.status == 0 and r.spans and "EUR" in {x["meta"].get("s") for x in r.spans}


@pytest.mark.soak
def test_more_links_than_files(spanhound, program, tmp_path):
    """Perf links take a file descriptor each; the usual limit is made for something else."""
    few = write(tmp_path, "few-files", f'#!/bin/sh\nulimit -Sn 64\nexec {harness.BINARY} "$@"\n')
    os.chmod(few, 0o755)
    p = program("calls", "nested")
    s = spanhound("--pid", p.pid, "-f", "p_*", "--link", "perf", binary=few)
    p.run()
    r = s.stop()
    assert r.summary["sites"] > 64
    truth.assert_same_tree(p.calls, r.spans, r.offset_ns)


@pytest.mark.alone
def test_figures(tmp_path, hot, record_property):
    """Not judged: what loading, attaching and detaching take here."""
    h = hot(1, 500).go()
    start = time.monotonic()
    s = harness.Spanhound(str(tmp_path), "--pid", h.pid, "-f", "p_hot*", "--count", "200")
    ready = time.monotonic() - start
    summary = s.result().summary
    assert h.stop()["calls"] >= 100
    record_property("from the command to ready", f"{ready * 1e3:.0f} ms")
    for what in ("resolve", "attach", "detach"):
        record_property(f"{what}, {summary['sites']} sites by {summary['link']} links", f"{summary[what + '_ns'] / 1e6:.1f} ms")


def test_run_from_the_first_instruction(spanhound, tmp_path):
    log = str(tmp_path / "log")
    r = spanhound("-f", "p_*", command="run", after=("--", program_path("o2", "calls"), log, "nested"),
                  wait_ready=False, env={"TRUTH_NOWAIT": "1"}).result()
    truth.assert_same_tree(truth.read(log), r.spans, r.offset_ns)


CHAIN = """
import http.client, http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if len(sys.argv) > 1:
            c = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
            c.request("GET", self.path)
            c.getresponse().read()
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *_):
        pass
s = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(s.server_port, flush=True)
s.serve_forever()
"""


def test_requests(spanhound, background):
    """Sockets are followed: two servers, one of which asks the other, are one trace."""
    def serve(*args):
        p = background(sys.executable, "-c", CHAIN, *args, stdout=subprocess.PIPE, text=True)
        return p.pid, p.stdout.readline().strip()

    last, last_port = serve()
    first, first_port = serve(last_port)
    s = spanhound("--pid", f"{first},{last}")
    client = http.client.HTTPConnection("127.0.0.1", int(first_port))
    client.request("GET", "/kernel")
    assert client.getresponse().read() == b"ok"
    client.close()
    r = s.stop()
    chain = sorted(r.spans, key=lambda x: x["start"])
    assert [(x["name"], x["resource"]) for x in chain] == [
        ("http.server.request", "GET /kernel"), ("http.client.request", "GET /kernel"), ("http.server.request", "GET /kernel")]
    assert [x["parent_id"] for x in chain] == [0, chain[0]["span_id"], chain[1]["span_id"]]
    assert len({x["trace_id"] for x in chain}) == 1 and not r.dropped
