# SPDX-License-Identifier: Apache-2.0
"""A host full of processes: how long until the first one is traced, and what it takes to trace them while nothing happens."""
import glob
import os
import shutil
import signal
import subprocess
import time

from harness import Figure, PATIENCE_S, Spanhound

MANY = 2000
ALL, TRACED = 300, 20


class Crowd:
    """Processes that sleep."""

    def __init__(self, cnt):
        self.process = subprocess.Popen(["sh", "-c", f"i=0; while [ $i -lt {cnt} ]; do sleep 1000 & i=$((i+1)); done; "
                                         "echo started; wait"], stdout=subprocess.PIPE, text=True, start_new_session=True)

    def __enter__(self):
        assert self.process.stdout.readline() == "started\n"
        return self

    def __exit__(self, *_):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE_S)


class Waiters:
    """Processes of an own executable, which wait for a word that does not come."""

    def __init__(self, bench, cnt):
        self.path = os.path.join(bench.tmp, "waiter")
        shutil.copy(bench.program("calls"), self.path)
        self.processes = [subprocess.Popen([self.path], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) for _ in range(cnt)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for p in self.processes:
            p.kill()
            p.wait(PATIENCE_S)


def has_breakpoint(pid, path):
    """Some page of its code is no page of the file any more."""
    with open(f"/proc/{pid}/smaps", encoding="utf-8") as f:
        ours = False
        for line in f:
            if "-" in line.split(" ", 1)[0]:
                ours = line.rstrip().endswith(path) and " r-xp " in line
            elif ours and line.startswith("Anonymous:") and int(line.split()[1]):
                return True
    return False


def start(bench, path):
    """Milliseconds until the process is probed, and until the command is ready."""
    command = [bench.spanhound, "attach", "--name", os.path.basename(path), "-f", "call_*", "-e", "json:/dev/null"]
    with Waiters(bench, 1) as waiters:
        pid = waiters.processes[0].pid
        begin = time.monotonic()
        p = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        while not has_breakpoint(pid, waiters.path):
            if p.poll() is not None or time.monotonic() - begin > PATIENCE_S:
                raise AssertionError(f"{' '.join(command)} probed nothing")
            time.sleep(0.002)
        first = time.monotonic() - begin
        while not p.stderr.readline().startswith("spanhound: ready"):
            pass
        ready = time.monotonic() - begin
        p.send_signal(signal.SIGINT)
        p.communicate(timeout=PATIENCE_S)
    return first * 1e3, ready * 1e3


def startup(bench, quick=False):
    path = os.path.join(bench.tmp, "waiter")
    rounds = 1 if quick else 5
    alone = sorted(start(bench, path) for _ in range(rounds))
    with Crowd(MANY):
        crowded = sorted(start(bench, path) for _ in range(rounds))
    return [Figure(f"{MANY} processes: from the start of the command to the first attach", f"{crowded[0][0]:.0f} ms", "<= 1000 ms",
                   crowded[0][0] <= 1000,
                   [f"least of {rounds}; slowest {crowded[-1][0]:.0f} ms; all looked at twice and ready: {crowded[0][1]:.0f} ms",
                    f"without them: {alone[0][0]:.0f} ms, and {alone[0][1]:.0f} ms"])]


def spent(pid):
    """CPU nanoseconds and voluntary waits of all threads."""
    cpu = waits = 0
    for task in glob.glob(f"/proc/{pid}/task/*"):
        with open(f"{task}/schedstat", encoding="utf-8") as f:
            cpu += int(f.read().split()[0])
        with open(f"{task}/status", encoding="utf-8") as f:
            waits += next(int(line.split()[1]) for line in f if line.startswith("voluntary_ctxt_switches"))
    return cpu, waits


def forks():
    with open("/proc/stat", encoding="utf-8") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("processes"))


def idle(bench, quick=False):
    seconds = 5 if quick else 30
    with Crowd(ALL - TRACED), Waiters(bench, TRACED) as waiters:
        config = bench.file("idle.yaml", f"targets:\n  - exe: {waiters.path}\nprobes:\n  - function: call_*\n"
                            f"control: {{socket: {bench.tmp}/control.sock}}\n")
        s = Spanhound(bench, "-c", config, "-e", "json:/dev/null", command="serve")
        time.sleep(3)  # it goes to sleep by and by
        before, born, begin = spent(s.pid), forks(), time.monotonic()
        time.sleep(seconds)
        after, born, took = spent(s.pid), forks() - born, time.monotonic() - begin
        rss, anonymous = s.status("VmRSS"), s.status("RssAnon")
        summary = s.stop()
    if summary["processes"] != TRACED:
        raise AssertionError(f"{summary['processes']} processes were traced, not {TRACED}")
    share = (after[0] - before[0]) / 1e9 / took
    what = f"idle, {ALL} processes, {TRACED} traced"
    return [
        Figure(f"{what}: CPU", f"{share * 100:.3f} %", "<= 0.2 %", share <= 0.002, [f"over {took:.0f} s, all threads"]),
        Figure(f"{what}: resident memory", f"{rss / 1024:.1f} MB", "<= 16 MB", rss <= 16 * 1024,
               [f"of it {anonymous / 1024:.1f} MB its own, the rest are pages of files and of the kernel's rings"]),
        Figure(f"{what}: wakeups", f"{(after[1] - before[1]) / took:.1f}/s", "<= 11/s: the consumer's look every 200 ms, the "
               "exporter's, the supervisor's second", (after[1] - before[1]) / took <= 11.5,
               [f"each program that somebody executes wakes it, too; {born / took:.1f} threads were born on the host each second"]),
    ]
