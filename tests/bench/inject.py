# SPDX-License-Identifier: Apache-2.0
"""Trace context in requests: what it costs a proxy and those who wait for it. Connections that are there already: how long until
all are enrolled, and what their program notices of it."""
import contextlib
import os
import re
import statistics
import subprocess
import time

from harness import Figure, PATIENCE_S, Series, Spanhound, TARGET_CPU, TRACER_CPU, on_cpu
from web import NGINX_PORT, Server, ask, cpu_ticks, nginx

CONNECTIONS = 10000
RATE = 2000
LATENCY_RATE = 5000
PROXY_PORTS = (18093, 18094)
PROXY = """worker_processes 1;
daemon off;
pid {tmp}/proxy-{port}.pid;
error_log {tmp}/proxy-{port}.log;
events {{ worker_connections 2000; }}
http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 3600;
  upstream next {{ server 127.0.0.1:{next_port}; keepalive 128; keepalive_requests 1000000000; }}
  server {{ listen 127.0.0.1:{port};
    location / {{ proxy_pass http://next; proxy_http_version 1.1; proxy_set_header Connection ""; }} }} }}
"""
# nginx asks how much there is to be read: kernels that answer that wrongly otherwise do so with a verdict program, at a higher price.
KINDS = {"untraced": None, "captured": "off", "injected": "verdict"}


@contextlib.contextmanager
def proxies(bench):
    """A proxy in front of a proxy in front of a server; the workers of the two. The second one gets the headers of the first, hands them
    on, and has its own span put in their place."""
    with contextlib.ExitStack() as all_of_them:
        all_of_them.enter_context(nginx(bench))
        next_port, workers = NGINX_PORT, []
        for port in PROXY_PORTS:
            config = bench.file(f"proxy-{port}.conf", PROXY.format(tmp=bench.tmp, port=port, next_port=next_port))
            server = all_of_them.enter_context(Server(["nginx", "-c", config], port))
            workers.append(server.worker)
            next_port = port
        yield workers


@contextlib.contextmanager
def traced(bench, mode, chosen, **options):
    """Its summary, once it is over; empty where nothing is traced (None)."""
    summary = {}
    if mode is None:
        yield summary
        return
    path = bench.file(f"inject-{mode}.yaml", f"targets:\n- {{{chosen}}}\npropagation: {{inject: {mode}}}\n")
    s = Spanhound(bench, "-c", path, "-e", "json:/dev/null", command="serve", **options)
    try:
        yield summary
    finally:
        summary.update(s.stop())


def account(summary):
    return f"reasons {summary['inject']['reasons']}; seen {summary['seen']}, dropped {summary['dropped'] or 0}"


def throughput(bench, quick=False):
    """Both proxies at full speed, on one core."""
    rounds, seconds = (2, 2) if quick else (8, 4)
    rate, cpu = {k: Series() for k in KINDS}, {k: Series() for k in KINDS}
    with proxies(bench) as workers:
        for _ in range(rounds):
            for kind, mode in KINDS.items():
                with traced(bench, mode, f"pid: [{', '.join(map(str, workers))}]") as summary:
                    before = sum(map(cpu_ticks, workers))
                    out = subprocess.run(["wrk", "-t1", "-c32", f"-d{seconds}s", f"http://127.0.0.1:{PROXY_PORTS[1]}/"],
                                         capture_output=True, text=True, check=True, preexec_fn=on_cpu(TRACER_CPU)).stdout
                    requests = int(re.search(r"(\d+) requests in", out).group(1))
                    cpu[kind].values.append((sum(map(cpu_ticks, workers)) - before) / requests)
                    rate[kind].values.append(float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1)))
    ratio = rate["injected"].median / rate["captured"].median
    return [Figure("two nginx proxies, 32 connections, headers on both hops: requests/s / captured without", f"{ratio:.2f}", ">= 0.88",
                   ratio >= 0.88,
                   [f"median of {rounds} rounds: " + ", ".join(f"{k} {s.median:,.0f}" for k, s in rate.items()) + " requests/s",
                    "CPU of both proxies for each request: " + ", ".join(f"{k} {s.median:,.0f} ns" for k, s in cpu.items()) +
                    f": injected / captured {cpu['injected'].median / cpu['captured'].median:.2f} x", account(summary)])]


def latency(bench, quick=False):
    """5,000 requests a second on one connection, of a program whose own requests get headers, and through the two proxies. Each is
    timed from when it was written: what a machine that stands still now and then adds to all that are due then is not what is sought.
    The collector runs where it does not compete with those who are traced."""
    rounds, seconds = (2, 2) if quick else (12, 3)
    figures = []
    with proxies(bench) as workers:
        for who, port, kinds, chosen, cpu in (
                ("a client of its own", NGINX_PORT, {**KINDS, "injected": "plain"}, f"exe: {bench.program('requests')}", TARGET_CPU),
                ("two nginx proxies", PROXY_PORTS[1], KINDS, f"pid: [{', '.join(map(str, workers))}]", TRACER_CPU)):
            all_of = {k: [] for k in kinds}
            for _ in range(rounds):
                for kind, mode in kinds.items():
                    with traced(bench, mode, chosen, cpus=(cpu,)) as summary:
                        all_of[kind].append(ask(bench, 1, LATENCY_RATE, seconds, port))
            figures += latency_figures(who, all_of, summary)
    return figures


def latency_figures(who, all_of, summary):
    def least(kind, name):
        return min(getattr(a, name) for a in all_of[kind]) / 1000

    def each(name, what=min):
        return ", ".join(f"{k} {what(getattr(a, name) for a in v) / 1000:,.0f} us" for k, v in all_of.items())

    added = least("injected", "written_p99") - least("untraced", "written_p99")
    rounds = len(all_of["untraced"])
    return [Figure(f"{who}, {LATENCY_RATE:,} requests/s: added p99", f"{added:.0f} us", "<= 60 us", added <= 60,
                   [f"against untraced; least of {rounds} rounds: {each('written_p99')}; median of them: {each('written_p99', statistics.median)}",
                    f"p50, least: {each('written_p50')}", account(summary)]),
            Figure("the same: the longest answer, from when it was due", f"{least('injected', 'longest') / 1000:.1f} ms", "< 40 ms",
                   least("injected", "longest") < 40000,
                   [f"least of {rounds} rounds: {each('longest')}; of all: {each('longest', max)}"])]


def asked_while(bench, mode, seconds):
    """The program's longest and 99th percentile wait for an answer, in ns, while spanhound attached; and the summary."""
    path = bench.file(f"inject-{mode}.yaml", f"propagation: {{inject: {mode}}}\n")
    load = subprocess.Popen([bench.program("requests"), str(NGINX_PORT), str(CONNECTIONS), str(RATE), str(seconds)],
                            stdout=subprocess.PIPE, text=True, preexec_fn=on_cpu(TARGET_CPU))
    end = time.monotonic() + PATIENCE_S
    while len(os.listdir(f"/proc/{load.pid}/fd")) < CONNECTIONS + 4:
        if load.poll() is not None or time.monotonic() > end:
            raise RuntimeError("the connections could not be opened")
        time.sleep(0.01)
    s = Spanhound(bench, "-c", path, "-p", load.pid, "-e", "json:/dev/null")
    beside = load.poll() is None
    out, _ = load.communicate(timeout=PATIENCE_S + seconds)
    summary = s.stop()
    if not beside or load.returncode:
        raise RuntimeError("the program ended before spanhound was ready")
    p99, longest = (int(x) for x in out.split()[3:5])
    return longest, p99, summary["inject"]


def enrol(bench, quick=False):
    """Plain, and with a verdict program; what the program waits is compared with an attach that enrols nothing."""
    rounds, seconds = (2, 4) if quick else (6, 5)
    longest = {k: Series() for k in ("off", "plain", "verdict")}
    p99 = {k: Series() for k in longest}
    took, left = {"plain": Series(), "verdict": Series()}, {"plain": 0, "verdict": 0}
    with nginx(bench):
        for _ in range(rounds):
            for mode in longest:
                worst, high, inject = asked_while(bench, mode, seconds)
                longest[mode].values.append(worst)
                p99[mode].values.append(high)
                if mode in took:
                    took[mode].values.append(inject["older_ns"])
                    left[mode] = max(left[mode], CONNECTIONS - inject["older"])
    ms = {mode: s.median / 1e6 for mode, s in took.items()}
    stall = max(longest[m].least - longest["off"].least for m in took) / 1e6
    return [Figure(f"{CONNECTIONS:,} existing connections: enrolled within", f"{ms['plain']:.0f} ms", "<= 1 s", ms["plain"] <= 1000 and not left["plain"],
                   [f"all of them in each round; with a verdict program {ms['verdict']:.0f} ms, {left['verdict']} of them left out at most "
                    "(bytes lay unread, or a read might wait)" if not left["plain"] else f"{left['plain']} were left out"]),
            Figure("the same: the program stopped or stalled", f"{stall:+.1f} ms", notes=[
                f"its longest wait for an answer at {RATE:,} requests/s while spanhound attached, against an attach that enrols nothing; "
                f"least of {rounds} rounds: " + ", ".join(f"{m} {s.least / 1e6:.1f} ms" for m, s in longest.items()),
                "99th percentile: " + ", ".join(f"{m} {s.least / 1e3:.0f} us" for m, s in p99.items())])]
