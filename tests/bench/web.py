# SPDX-License-Identifier: Apache-2.0
"""What requests cost: the server, the collector, those who are not traced."""
import os
import re
import subprocess
import time
from typing import NamedTuple

from harness import Bpftrace, Figure, PATIENCE_S, Series, Spanhound, TARGET_CPU, TRACER_CPU, on_cpu

NGINX_PORT, REDIS_PORT = 18091, 18092
ANY_CPU = range(os.cpu_count() or 1)
RINGBUF = 27  # BPF_MAP_TYPE_RINGBUF
CONFIG = """worker_processes 1;
daemon off;
pid {tmp}/nginx.pid;
error_log {tmp}/nginx.log;
worker_rlimit_nofile 65536;
events {{ worker_connections 20000; }}
http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 3600;
  server {{ listen 127.0.0.1:{port}; location / {{ return 200 "hello, world\\n"; }} }} }}
"""
HISTOGRAM = ("tracepoint:syscalls:sys_enter_recvfrom /pid == {pid}/ {{ @t[tid] = nsecs; }} "
             "tracepoint:syscalls:sys_exit_writev /pid == {pid} && @t[tid]/ {{ @ = hist(nsecs - @t[tid]); delete(@t[tid]); }} "
             "tracepoint:syscalls:sys_exit_write /pid == {pid} && @t[tid]/ {{ @ = hist(nsecs - @t[tid]); delete(@t[tid]); }}")


class Server:
    def __init__(self, command, port):
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=on_cpu(TARGET_CPU))
        for _ in range(200):
            if subprocess.run(["sh", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{port}"], executable="/bin/bash", stderr=subprocess.DEVNULL,
                              check=False).returncode == 0:
                return
            time.sleep(0.05)
        raise RuntimeError(f"{command[0]} does not listen")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(PATIENCE_S)

    @property
    def worker(self):
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="utf-8") as f:
            return int((f.read().split() or [self.process.pid])[0])


def nginx(bench):
    config = bench.file("nginx.conf", CONFIG.format(tmp=bench.tmp, port=NGINX_PORT))
    return Server(["nginx", "-c", config], NGINX_PORT)


def cpu_ticks(pid):
    with open(f"/proc/{pid}/schedstat", encoding="utf-8") as f:
        return int(f.read().split()[0])


class Answers(NamedTuple):
    """What programs/requests prints: times in ns, from when each request was due and from when it was written."""
    requests: int
    took: int
    p50: int
    p99: int
    longest: int
    written_p50: int
    written_p99: int


def ask(bench, connections, rate, amount, port=NGINX_PORT):
    out = subprocess.run([bench.program("requests"), str(port), str(connections), str(rate), str(amount)], capture_output=True,
                         text=True, check=True, preexec_fn=on_cpu(TRACER_CPU), timeout=600).stdout
    return Answers(*map(int, out.split()))


def wrk(worker, seconds):
    """(server CPU ns per request, requests per second)"""
    before = cpu_ticks(worker)
    out = subprocess.run(["wrk", "-t1", "-c32", f"-d{seconds}s", f"http://127.0.0.1:{NGINX_PORT}/"], capture_output=True, text=True,
                         check=True, preexec_fn=on_cpu(TRACER_CPU)).stdout
    used = cpu_ticks(worker) - before
    requests = int(re.search(r"(\d+) requests in", out).group(1))
    return used / requests, float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))


def account(s):
    return f"seen {s['seen']} = exported {s['exported']} + dropped {s['dropped'] or 0}, unaccounted {s['unaccounted']}"


def cost(bench, quick=False):
    """nginx at full speed: untraced, traced, under a histogram of the same calls."""
    if not os.path.exists("/sys/kernel/tracing/events"):
        subprocess.run(["mount", "-t", "tracefs", "tracefs", "/sys/kernel/tracing"], check=False)
    rounds, seconds = (2, 1) if quick else (6, 3)
    cpu = {k: Series() for k in ("untraced", "spanhound", "bpftrace")}
    rate = {k: Series() for k in cpu}
    with nginx(bench) as server:
        worker = server.worker
        wrk(worker, 1)

        def measure(kind):
            c, r = wrk(worker, seconds)
            cpu[kind].values.append(c)
            rate[kind].values.append(r)

        for _ in range(rounds):
            measure("untraced")
            s = Spanhound(bench, "-p", worker, "-e", "json:/dev/null")
            measure("spanhound")
            summary = s.stop()
            with Bpftrace(HISTOGRAM.format(pid=worker)):
                measure("bpftrace")
    ratio = cpu["spanhound"].median / cpu["untraced"].median
    speed = rate["spanhound"].median / rate["untraced"].median
    note = (f"median of {rounds} rounds; untraced {cpu['untraced'].median:,.0f} ns and {rate['untraced'].median:,.0f} requests/s; "
            f"bpftrace histogram {cpu['bpftrace'].median / cpu['untraced'].median:.2f} x CPU, "
            f"{rate['bpftrace'].median / rate['untraced'].median:.2f} of the requests")
    return [Figure("nginx return 200, 32 connections: server CPU per request / untraced", f"{ratio:.2f} x", "<= 1.15 x", ratio <= 1.15,
                   [note, account(summary)]),
            Figure("the same: requests/s / untraced (load, collector and exporter share one core)", f"{speed:.2f}", ">= 0.88",
                   speed >= 0.88)]


def redis(bench, quick=False):
    """A protocol that is not known: bytes only."""
    rounds, count = (2, 100000) if quick else (6, 400000)
    speed = {k: Series() for k in ("untraced", "spanhound")}
    command = ["redis-server", "--port", str(REDIS_PORT), "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"]

    def measure(kind):
        out = subprocess.run(["redis-benchmark", "-p", str(REDIS_PORT), "-t", "get", "-n", str(count), "-c", "32", "--csv"],
                             capture_output=True, text=True, check=True, preexec_fn=on_cpu(TRACER_CPU)).stdout
        speed[kind].values.append(float(re.search(r'"GET","([\d.]+)"', out).group(1)))

    with Server(command, REDIS_PORT) as server:
        for _ in range(rounds):
            measure("untraced")
            s = Spanhound(bench, "-p", server.process.pid, "-e", "json:/dev/null")
            measure("spanhound")
            s.stop()
    ratio = speed["spanhound"].median / speed["untraced"].median
    return [Figure("redis GET with its sockets followed / untraced", f"{ratio:.2f}", ">= 0.86", ratio >= 0.86,
                   [f"untraced {speed['untraced'].median:,.0f} requests/s"])]


def latency(bench, quick=False):
    """10,000 requests a second: what a request waits longer, what the collector takes."""
    rounds, seconds = (2, 2) if quick else (5, 5)
    p99 = {k: Series() for k in ("untraced", "spanhound")}
    share = Series()
    with nginx(bench) as server:
        for _ in range(rounds):
            p99["untraced"].values.append(ask(bench, 64, 10000, seconds).p99)
            s = Spanhound(bench, "-p", server.worker, "-e", "json:/dev/null", cpus=ANY_CPU)
            before = sum(cpu_ticks(f"{s.process.pid}/task/{t}") for t in os.listdir(f"/proc/{s.process.pid}/task"))
            answers = ask(bench, 64, 10000, seconds)
            used = sum(cpu_ticks(f"{s.process.pid}/task/{t}") for t in os.listdir(f"/proc/{s.process.pid}/task")) - before
            p99["spanhound"].values.append(answers.p99)
            share.values.append(100 * used / answers.took)
            summary = s.stop()
    added = (p99["spanhound"].least - p99["untraced"].least) / 1000
    return [Figure("10,000 requests/s: added p99", f"{added:.0f} us", "<= 30 us", added <= 30,
                   [f"best of {rounds} rounds each: {p99['untraced'].least / 1000:.0f} us untraced, {p99['spanhound'].least / 1000:.0f} us "
                    f"traced; median {p99['untraced'].median / 1000:.0f} and {p99['spanhound'].median / 1000:.0f} us",
                    account(summary)]),
            Figure("the same: collector and exporter", f"{share.median:.1f} % of a core", "<= 10 %", share.median <= 10)]


def map_bytes(pid):
    """Memory of its maps, by the kernel's account, without the rings."""
    total = 0
    for fd in os.listdir(f"/proc/{pid}/fdinfo"):
        with open(f"/proc/{pid}/fdinfo/{fd}", encoding="utf-8") as f:
            facts = dict(line.split(":", 1) for line in f if ":" in line)
        if "map_type" in facts and int(facts["map_type"]) != RINGBUF:
            total += int(facts["memlock"])
    return total


def connections(bench, _quick=False):
    count = 10000
    with nginx(bench) as server:
        s = Spanhound(bench, "-p", server.worker, "-e", "json:/dev/null")
        empty = map_bytes(s.process.pid)
        held = subprocess.Popen([bench.program("requests"), str(NGINX_PORT), str(count), "hold", "0"], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True)
        ready = held.stdout.readline()
        time.sleep(1)
        kernel, rss = map_bytes(s.process.pid), s.status("VmRSS") / 1024
        held.stdin.close()
        held.wait(PATIENCE_S)
        summary = s.stop()
    if ready != "ready\n":
        raise RuntimeError("the connections could not be opened")
    mib = kernel / 2**20
    return [Figure(f"{count:,} open connections: kernel memory beyond the ring", f"{mib:.1f} MiB", "<= 4 MiB", mib <= 4,
                   [f"{empty / 2**20:.1f} MiB before the first one; {account(summary)}"]),
            Figure("the same: collector RSS", f"{rss:.1f} MB", "<= 24 MB", rss <= 24)]


def million(bench, quick=False):
    count = 100000 if quick else 1000000
    with nginx(bench) as server:
        s = Spanhound(bench, "-p", server.worker, "-e", "json:/dev/null")
        requests, ns, *_ = ask(bench, 64, 0, count)
        summary = s.stop()
    lost = requests - summary["exported"]
    exact = summary["seen"] == requests and summary["unaccounted"] == 0
    return [Figure(f"{requests:,} requests at full speed ({requests * 1e9 / ns:,.0f}/s)", f"{lost} lost", "all, or counted to the unit", exact,
                   [account(summary)])]


def bystander(bench, quick=False):
    """A process that is not chosen, while another one is."""
    rounds, count = (2, 200000) if quick else (6, 2000000)
    series = {k: (Series(), Series()) for k in ("alone", "beside")}

    def measure(kind):
        out = subprocess.run([bench.program("syscalls"), str(count)], capture_output=True, text=True, check=True,
                             preexec_fn=on_cpu(TRACER_CPU)).stdout
        for s, v in zip(series[kind], out.split()):
            s.values.append(float(v))

    with nginx(bench) as server:
        for _ in range(rounds):
            measure("alone")
            s = Spanhound(bench, "-p", server.worker, "-e", "json:/dev/null")
            measure("beside")
            s.stop()
    getppid, read = ((series["beside"][i].least - series["alone"][i].least) for i in (0, 1))
    return [Figure("a process that is not chosen", f"+{getppid:.0f} ns per getppid(), +{read:.0f} ns per read()", notes=[
        f"alone {series['alone'][0].least:.0f} and {series['alone'][1].least:.0f} ns"])]
