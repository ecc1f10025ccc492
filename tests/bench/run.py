#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The figures, measured in one run beside their baselines.

    tests/bench/run.py --output DIR [--quick] [--only NAME[,NAME]] [--strict]

--quick: fewer rounds. --only: some of the sections (see SECTIONS). --strict: exit status 1 when a figure is missed; without it
only a measurement that could not be made is an error. Needs root; the machine should have nothing else to do."""
import argparse
import os
import platform
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import attach  # noqa: E402
import calls  # noqa: E402
import host  # noqa: E402
import inject  # noqa: E402
import web  # noqa: E402
import load  # noqa: E402
import placement  # noqa: E402
import userspace  # noqa: E402
from harness import Bench, Figure  # noqa: E402

SECTIONS = {
    "calls": calls.beside_empty,
    "bpftrace": calls.beside_bpftrace,
    "placement": placement.fast_sites,
    "attach": attach.ten_thousand,
    "startup": host.startup,
    "idle": host.idle,
    "sustained": load.sustained,
    "overload": load.overload,
    "userspace": userspace.records_to_bytes,
    "exchanges": userspace.exchanges,
    "sampling": userspace.sampling,
    "http": web.cost,
    "redis": web.redis,
    "latency": web.latency,
    "connections": web.connections,
    "million": web.million,
    "bystander": web.bystander,
    "enrol": inject.enrol,
    "proxy": inject.throughput,
    "injectlatency": inject.latency,
    "encode": userspace.encode,
    "obfuscate": userspace.obfuscate,
}


def first_line(*command):
    try:
        out = subprocess.run(command, capture_output=True, text=True, check=False)
        return (out.stdout or out.stderr).strip().splitlines()[0]
    except (OSError, IndexError):
        return "none"


def cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        return next((line.split(":")[1].strip() for line in f if line.startswith("model name")), platform.machine())


def print_head(bench):
    print("command    " + " ".join(sys.argv))
    print(f"machine    {os.cpu_count()} x {cpu_model()}, load {os.getloadavg()[0]:.1f}")
    print(f"kernel     {platform.release()}")
    print(f"versions   {first_line(bench.spanhound, '--version')}; {first_line('gcc', '--version')}; "
          f"{first_line('clang', '--version')}; {first_line('bpftrace', '--version')}")
    print()


def print_figure(figure):
    verdict = {True: "met", False: "MISSED", None: ""}[figure.met]
    print(f"{verdict:7} {figure.what}: {figure.measured}" + (f"   (must {figure.must})" if figure.must else ""))
    for note in figure.notes:
        print(f"        {note}")
    sys.stdout.flush()


def measure(bench, name, quick):
    try:
        return SECTIONS[name](bench, quick), False
    except (OSError, RuntimeError, AssertionError, subprocess.SubprocessError, ValueError) as e:
        return [Figure(name, f"could not be measured: {e}")], True


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", default=".output")
    parser.add_argument("--only", default=",".join(SECTIONS))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--strict", action="store_true")
    args = parser.parse_args()
    unknown = [n for n in args.only.split(",") if n not in SECTIONS]
    if unknown:
        parser.error(f"no section {unknown[0]}; there are {', '.join(SECTIONS)}")
    if os.geteuid() != 0:
        parser.error("probes need root")

    bench = Bench(args.output)
    figures, broken = [], False
    try:
        print_head(bench)
        for name in args.only.split(","):
            made, failed = measure(bench, name, args.quick)
            broken |= failed
            figures += made
            for figure in made:
                print_figure(figure)
    finally:
        shutil.rmtree(bench.tmp, ignore_errors=True)
    met, missed = sum(f.met is True for f in figures), sum(f.met is False for f in figures)
    print(f"\n{met} met, {missed} missed, {sum(f.met is None for f in figures)} reported")
    return 1 if broken or (args.strict and missed) else 0


if __name__ == "__main__":
    sys.exit(main())
