# SPDX-License-Identifier: Apache-2.0
"""A daemon under everything at once for long: requests, a hot function, processes that come and go, a configuration that
changes every few seconds, an Agent that is there and is not. Its memory and files stay as they are after the warm-up, its
account adds up, and nobody it looks at comes to harm.

For three minutes, and not very hard, beside other tests. With SPANHOUND_SOAK=1 for an hour, alone, as hard as it can:
SPANHOUND_SOAK_SECONDS (3600) and SPANHOUND_SOAK_RATE (20000 requests a second); what the machine does not manage of the rate is
in the report."""
import hashlib
import http.server
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import threading
import time

import msgpack
import pytest

import agents
import harness
import web
from harness import wait_for, write

SECONDS = int(os.environ.get("SPANHOUND_SOAK_SECONDS", "3600")) if harness.SOAK else 180
RATE = int(os.environ.get("SPANHOUND_SOAK_RATE", "20000")) if harness.SOAK else 500
WARM_UP_S = max(30, min(300, SECONDS // 5))
SAMPLE_S = 2
RELOAD_S = 10
# The Agent is there for so long, then gone for so long.
AGENT_S = (25, 7)
# Of the children of one shell: some of the kind that is traced, the others not.
CHURN = """while :; do echo go | "$0" 1 500 1 >/dev/null & for i in 1 2 3 4 5 6 7 8; do /bin/true; done; wait; sleep "$1"; done"""
CHURN_PAUSE_S = 0 if harness.SOAK else 0.5
THINK_MS = 20  # between two requests of one connection
HOT_RATE = 1000
# Kernel and allocator have their pages in bursts: less than this per hour is no leak that a week would show.
MAX_SLOPE_KIB_PER_HOUR = 4096
MAX_RISE_KIB = 1024 if SECONDS > 600 else 4096  # of a run too short for a slope


class CountingAgent:
    """Counts the spans of what it answered, and keeps nothing. leave() lets what is under way finish, so that both sides
    agree about what arrived. What an answer comes too late for is sent again, and counted once."""

    def __init__(self):
        self.accepted = self.twice = 0
        self.known = set()
        self.busy = threading.Lock()  # held while a request is taken and answered
        self.connections = set()
        self.port = 0
        self.server = None
        self.appear()

    def appear(self):
        agent = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                agent.connections.add(self.connection)

            def finish(self):
                agent.connections.discard(self.connection)
                super().finish()

            def do_GET(self):
                self.answer(b'{"version":"7.99.0","endpoints":["/v0.4/traces","/info"],"client_drop_p0s":true}')

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with agent.busy:
                    if self.server.gone:
                        raise ConnectionError
                    cnt = spans_in(body) if self.path == "/v0.4/traces" else 0
                    self.answer(b'{"rate_by_service":{"service:,env:":1}}')
                    digest = hashlib.sha1(body).digest()
                    if digest in agent.known:
                        agent.twice += cnt
                    else:
                        agent.accepted += cnt
                    agent.known.add(digest)

            def answer(self, body):
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                self.wfile.flush()

            def handle(self):
                try:
                    super().handle()
                except (OSError, ValueError):
                    pass

            def log_message(self, *_):
                pass

        http.server.ThreadingHTTPServer.allow_reuse_address = True
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        self.server.gone = False
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def leave(self):
        with self.busy:
            self.server.gone = True
        self.server.shutdown()
        self.server.server_close()
        for c in list(self.connections):
            try:
                c.shutdown(2)
            except OSError:
                pass


def spans_in(body):
    """Without making objects of them."""
    u = msgpack.Unpacker(max_buffer_size=0)
    u.feed(body)
    cnt = 0
    for _ in range(u.read_array_header()):
        spans = u.read_array_header()
        cnt += spans
        for _ in range(spans):
            u.skip()
    return cnt


def state_of(pid):
    """(resident KiB, open files, threads)"""
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        status = dict(line.split(":", 1) for line in f)
    return int(status["VmRSS"].split()[0]), len(os.listdir(f"/proc/{pid}/fd")), int(status["Threads"])


def floor_of(samples):
    """[(seconds, KiB)], the lowest of each minute or two: what is kept for an Agent that is away is no growth."""
    width = max(2 * sum(AGENT_S), SECONDS // 120)
    lowest = {}
    for seconds, kib in samples:
        window = int(seconds // width)
        lowest[window] = min(lowest.get(window, (seconds, kib)), (seconds, kib), key=lambda x: x[1])
    return list(lowest.values())


def slope_of(few):
    """KiB per hour of [(seconds, KiB)], by Theil and Sen: single ones do not pull at it."""
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for i, a in enumerate(few) for b in few[i + 1:]]
    return statistics.median(slopes) * 3600 if slopes else 0  # a run too short to say


class Every(threading.Thread):
    """Does something every so many seconds; what it raised is raised by end()."""

    def __init__(self, seconds, what):
        super().__init__(daemon=True)
        self.seconds, self.what, self.error, self.over = seconds, what, None, threading.Event()
        self.start()

    def run(self):
        try:
            while not self.over.wait(self.seconds):
                self.what()
        except BaseException as e:
            self.error = e

    def end(self):
        self.over.set()
        self.join()
        if self.error:
            raise self.error


@pytest.fixture
def agent():
    a = CountingAgent()
    yield a
    a.leave()


@pytest.fixture
def nginx(tmp_path):
    missing = [t for t in ("nginx", "wrk") if not shutil.which(t)]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    n = web.nginx(str(tmp_path), agents.free_port(), 'location / { return 200 "ok"; }', workers=2)
    yield n
    n.stop()


def load(background, tmp_path, port):
    """wrk that waits between two requests of a connection: so many requests a second if the answer comes at once."""
    script = write(tmp_path, "think.lua", f"function delay() return {THINK_MS} end\n")
    cnt = max(2, RATE * THINK_MS // 1000)
    return background("wrk", "-t2", f"-c{cnt}", f"-d{SECONDS}s", "--timeout", "60s", "-s", script, f"http://127.0.0.1:{port}/soak/1",
                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@(pytest.mark.alone if harness.SOAK else pytest.mark.early)
@pytest.mark.timeout(SECONDS + 600)
def test_everything_at_once(spanhound, background, hot, nginx, agent, tmp_path, record_property):
    copy = os.path.join(tmp_path, "comes-and-goes")
    shutil.copy(harness.program_path("o2", "hot"), copy)
    h = hot(1, HOT_RATE)

    def config(number):
        probes = "  - function: p_hot\n" + ("  - function: p_hot_inner\n" if number % 2 else "")
        write(tmp_path, "config.new", f"targets:\n  - pid: {h.pid}\n  - exe: {copy}\n  - name: nginx\n    port: {nginx.port}\n"
                                      f"tags: {{round: \"{number}\"}}\nprobes:\n{probes}")
        path = os.path.join(str(tmp_path), "config.yaml")
        os.rename(os.path.join(str(tmp_path), "config.new"), path)
        return path

    s = spanhound("-c", config(0), "--export", f"datadog:http://127.0.0.1:{agent.port}", export=False, command="serve")
    h.go()
    start = time.monotonic()
    wrk = load(background, tmp_path, nginx.port)
    churn = background("/bin/sh", "-c", CHURN, copy, str(CHURN_PAUSE_S), start_new_session=True)
    samples, rounds, gone = [], [0], [0]

    def sample():
        samples.append((time.monotonic() - start, *state_of(s.pid)))

    def reload():
        rounds[0] += 1
        config(rounds[0])
        s.process.send_signal(signal.SIGHUP)

    def agent_goes():
        agent.leave()
        gone[0] += 1
        time.sleep(AGENT_S[1])
        agent.appear()

    helpers = [Every(SAMPLE_S, sample), Every(RELOAD_S, reload), Every(AGENT_S[0], agent_goes)]
    said = wrk.communicate(timeout=SECONDS + 300)[0]
    for e in helpers:
        e.end()
    os.killpg(churn.pid, signal.SIGKILL)
    wait_for(lambda: "takes spans again" in s.stderr or not gone[0], "the Agent to be found again")
    calls = h.stop()["calls"]
    objects = harness.kernel_objects_of(s.pid)
    r = s.stop(signal.SIGTERM, status=None)

    steady = [x for x in samples if x[0] >= WARM_UP_S]
    floor = floor_of([x[:2] for x in steady])
    slope = slope_of(floor)
    requests, errors = wrk_account(said)
    files = [x[2] for x in steady]
    report = {"seconds": round(samples[-1][0]), "requests_per_second": round(requests / SECONDS), "reloads": rounds[0],
              "agent_gone": gone[0], "rss_kib_max": max(x[1] for x in steady), "rss_kib_floor": [x[1] for x in floor],
              "rss_slope_kib_per_hour": round(slope), "files": [min(files), max(files)], "threads": sorted({x[3] for x in steady}),
              "seen": r.summary["seen"], "exported": r.summary["exported"], "accepted": agent.accepted, "twice": agent.twice, "dropped": r.dropped,
              "reloads_said": s.stderr.count("reloaded "), "target_errors": errors, "status": r.status}
    for key, value in report.items():
        record_property(key, value)
    print(json.dumps(report))

    harness.assert_identity(r.summary)
    # An answer that nobody waited for any more was none: those spans may be given up, and are there nevertheless.
    given_up = r.dropped.get("agent_backpressure", 0) + r.dropped.get("export_failed", 0)
    assert r.summary["exported"] <= agent.accepted <= r.summary["exported"] + given_up, report
    assert r.summary["seen"] >= requests + calls * 0.99, report
    assert not errors, said
    assert set(r.dropped) <= {"agent_backpressure", "export_failed", "detached", "unfinished"}, report
    assert report["reloads_said"] >= 0.8 * rounds[0], s.stderr[-2000:]
    assert max(files[len(files) // 2:]) <= max(files[:len(files) // 2]) + 4, report
    assert slope * max(SECONDS - WARM_UP_S, 1) / 3600 <= max(MAX_SLOPE_KIB_PER_HOUR * SECONDS / 3600, MAX_RISE_KIB), report
    wait_for(lambda: harness.are_gone(objects), "programs, maps and links to be gone")


def wrk_account(said):
    """(requests, lines about errors) of what wrk says at its end."""
    done = re.search(r"(\d+) requests in ", said)
    assert done, said
    return int(done.group(1)), [line.strip() for line in said.splitlines() if "errors:" in line or "Non-2xx" in line]
