# SPDX-License-Identifier: Apache-2.0
"""Starts what is measured and what it is measured against."""
import json
import os
import re
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field

TARGET_CPU = 0
# The other core, where there is one: the collector's time is its own.
TRACER_CPU = 1 if (os.cpu_count() or 1) > 1 else 0
PATIENCE_S = 60


@dataclass
class Figure:
    what: str
    measured: str
    must: str = ""         # empty: reported only
    met: bool | None = None
    notes: list = field(default_factory=list)


class Bench:
    """Where things are, and a directory for what is made on the way."""

    def __init__(self, output):
        self.output = os.path.abspath(output)
        self.spanhound = os.path.join(self.output, "spanhound")
        self.tmp = tempfile.mkdtemp(prefix="bench-", dir=self.output)

    def program(self, name):
        return os.path.join(self.output, "bench", name)

    def file(self, name, text=""):
        path = os.path.join(self.tmp, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path


def on_cpu(*cpus):
    return lambda: os.sched_setaffinity(0, set(cpus))


class Target:
    """tests/bench/programs/calls: a program that times its own calls."""

    def __init__(self, bench, cpus=(TARGET_CPU,)):
        self.path = bench.program("calls")
        self.process = subprocess.Popen([self.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        preexec_fn=on_cpu(*cpus))
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(PATIENCE_S)

    def tell(self, *words):
        self.process.stdin.write(" ".join(str(w) for w in words) + "\n")
        self.process.stdin.flush()

    def answer(self):
        return self.process.stdout.readline().split()

    def ask(self, *words):
        self.tell(*words)
        return self.answer()

    def sites(self, function):
        """File offsets of the symbol and of the push behind its endbr64."""
        symbol, push = self.ask("site", function)
        return int(symbol), int(push)

    def ns_per_call(self, function, calls):
        ns, right = self.ask("time", function, calls)
        if right != "1":
            raise AssertionError(f"{function} computed something else while it was probed")
        return int(ns) / calls


class Empty:
    """tests/bench/programs/empty: programs that do nothing, at these file offsets."""

    def __init__(self, bench, kind, *offsets):
        command = [bench.program("empty"), bench.program("calls"), kind, *map(str, offsets)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        preexec_fn=on_cpu(TRACER_CPU))
        if self.process.stdout.readline() != "ready\n":
            raise RuntimeError("empty programs could not be attached")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(PATIENCE_S)


class Spanhound:
    """`spanhound attach`, or another command, ready. stop() gives its summary."""

    def __init__(self, bench, *args, cpus=(TRACER_CPU,), command="attach"):
        self.summary_path = os.path.join(bench.tmp, f"summary-{time.monotonic_ns()}.json")
        self.command = [bench.spanhound, command, *map(str, args), "--summary", f"json:{self.summary_path}"]
        self.process = subprocess.Popen(self.command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
                                        preexec_fn=on_cpu(*cpus))
        said = ""
        for line in self.process.stderr:
            said += line
            if "ready:" in line:
                return
        raise RuntimeError(f"{' '.join(self.command)}: {said}")

    @property
    def pid(self):
        return self.process.pid

    def status(self, key):
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as f:
            return int(re.search(rf"^{key}:\s*(\d+)", f.read(), re.M).group(1))

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=PATIENCE_S)
        with open(self.summary_path, encoding="utf-8") as f:
            return json.load(f)


class Bpftrace:
    """A bpftrace script, attached."""

    def __init__(self, script):
        self.process = subprocess.Popen(["bpftrace", "-q", "-e", 'BEGIN { printf("ready\\n"); } ' + script],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=on_cpu(TRACER_CPU))
        line = self.process.stdout.readline()
        if line != b"ready\n":
            raise RuntimeError(f"bpftrace: {self.process.stderr.read().decode()}")
        # Nobody reads what it prints: to a file it goes at its own pace.
        self.drain = subprocess.Popen(["cat"], stdin=self.process.stdout, stdout=subprocess.DEVNULL,
                                      preexec_fn=on_cpu(TRACER_CPU))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(PATIENCE_S)
        self.drain.wait(PATIENCE_S)


@dataclass
class Series:
    """Many measurements of one thing on a machine with other work: the least of them is nearest to its price."""
    values: list = field(default_factory=list)

    def at(self, share):
        ordered = sorted(self.values)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]

    @property
    def least(self):
        return self.at(0)

    @property
    def tenth(self):
        return self.at(0.1)

    @property
    def median(self):
        return self.at(0.5)


def interleave(target, functions, rounds, calls, rest_s=0.004):
    """ns per call of each function, measured in turn so that all of them meet the same disturbances. The rest lets
    collectors empty their buffers: what is measured is the traced thread, not a full ring."""
    series = {f: Series() for f in functions}
    for f in functions:
        target.ns_per_call(f, calls)
    for _ in range(rounds):
        for f in functions:
            series[f].values.append(target.ns_per_call(f, calls))
        time.sleep(rest_s)
    return series
