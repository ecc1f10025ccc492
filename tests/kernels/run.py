# SPDX-License-Identifier: Apache-2.0
"""Boots kernels of Debian packages in QEMU and runs a part of the e2e tests there. Nothing is installed, on no disk:
the guest lives in an initramfs of files of this machine. Each result is shown when it is there; at the end a table of the
kernels, and as the last line

    N passed, N failed, N skipped

    tests/kernels/run.py --output .output PACKAGE... [-k EXPRESSION] [--command COMMAND]

A package is a name or a pattern of names, of which the newest is taken. Exit status 0 only when nothing failed: a test that
has no result, because its guest hung or died, has. --command runs a shell command in each guest instead of the tests and
shows what it said."""
import argparse
import datetime
import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import time

import initramfs

HERE = os.path.dirname(os.path.abspath(__file__))
E2E = os.path.join(os.path.dirname(HERE), "e2e")
# Emulated, and on a loaded machine; a guest that takes longer hangs.
GUEST_TIMEOUT_S = int(os.environ.get("TEST_KERNEL_TIMEOUT", "3600"))
# Of one test in it; the longest take a sixth of that.
TEST_LIMIT_S = int(os.environ.get("TEST_KERNEL_LIMIT", "600"))
# kvm where the machine really has it; emulation runs everywhere.
ACCEL = os.environ.get("TEST_KERNEL_ACCEL", "tcg")
# All CPUs of a guest have the host's cycle counter; left to itself the kernel takes a timer on the board, whose reading is
# dear and was seen to go back by 0.1 ms on another CPU.
CLOCK = "tsc=reliable clocksource=tsc"
MEMORY_MB = 2048
MAX_SHOWN = 4000

# What differs between kernels: how programs load and link, and what the kernel half sees. Of the rest the guests, which
# are some twenty times slower than a machine, run what one load of the programs covers much with.
TESTS = ["test_kernel.py", "test_inject.py", "test_inject_context.py", "test_inject_blocking.py", "test_inject_forward.py",
         "test_inject_older.py", "test_inject_watch.py", "test_tcp_option.py",
         "test_run.py", "test_probe_list.py", "test_ground_truth.py"]
SELECT = """
    test_kernel
    or test_inject and (test_keepalive or test_continues or test_left_alone or test_middle)
    or test_inject_context and test_read and b3
    or test_inject_forward and test_python
    or test_inject_blocking and (test_interrupted or test_older)
    or test_inject_watch and (test_passes or test_begins)
    or test_tcp_option and test_beside
    or test_run and (first_instruction and o2 or killed_by)
    or test_probe_list and (test_strings or test_structs or test_return_values)
    or test_ground_truth and (test_calls_built and nopie or test_exceptions_built and cet or exception_types
                              or test_calls and sites and not session)
"""


class Kernel:
    def __init__(self, package, output):
        self.package = package
        self.release = re.sub(r"^linux-image-|-unsigned$", "", package)
        self.folder = os.path.join(output, self.release)
        self.image = os.path.join(self.folder, "vmlinuz")

    def fetch(self):
        """The kernel's file out of its package, which apt verifies."""
        if os.path.exists(self.image):
            return
        os.makedirs(self.folder, exist_ok=True)
        subprocess.run(["apt-get", "download", "-qq", self.package], cwd=self.folder, check=True)
        deb = next(f for f in os.listdir(self.folder) if f.endswith(".deb"))
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], cwd=self.folder, stdout=subprocess.PIPE) as tar:
            vmlinuz = subprocess.run(["tar", "-xO", "--wildcards", "./boot/vmlinuz-*"], stdin=tar.stdout,
                                     stdout=subprocess.PIPE, check=True).stdout
        with open(self.image + ".new", "wb") as f:
            f.write(vmlinuz)
        os.rename(self.image + ".new", self.image)
        os.unlink(os.path.join(self.folder, deb))

    def boot(self, image, progress=lambda lines: None):
        """Runs the guest to its end: (None or what went wrong, console, lines that it wrote to the second serial port).
        Those are shown to progress as they come."""
        console, results = (os.path.join(self.folder, f) for f in ("console.log", "results"))
        for path in (console, results):
            open(path, "wb").close()
        command = ["qemu-system-x86_64", "-accel", ACCEL, "-cpu", "max", "-smp", "2", "-m", str(MEMORY_MB),
                   "-display", "none", "-no-reboot", "-nodefaults", "-kernel", self.image, "-initrd", image,
                   "-serial", f"file:{console}", "-serial", f"file:{results}",
                   "-append", f"console=ttyS0 quiet panic=-1 oops=panic {CLOCK}"]
        end = time.monotonic() + GUEST_TIMEOUT_S
        lines, seen = [], 0
        with subprocess.Popen(command, stdin=subprocess.DEVNULL) as qemu:
            try:
                while qemu.poll() is None and time.monotonic() < end:
                    time.sleep(1)
                    lines = self.read(results).splitlines(keepends=True)
                    whole = len(lines) - (not lines[-1].endswith("\n") if lines else 0)
                    progress(lines[seen:whole])
                    seen = whole
            finally:
                wrong = f"the guest did not end within {GUEST_TIMEOUT_S} s" if qemu.poll() is None else None
                qemu.kill()
        if not wrong and qemu.returncode:
            wrong = f"qemu ended with {qemu.returncode}"
        lines = self.read(results).splitlines(keepends=True)
        progress(lines[seen:])
        return wrong, self.read(console), lines

    @staticmethod
    def read(path):
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read().replace("\r", "")


def newest(pattern):
    """The package of that pattern whose name is of the highest version; None if there is none."""
    p = subprocess.run(["apt-cache", "pkgnames", pattern.split("*")[0]], stdout=subprocess.PIPE, text=True, check=True)
    names = fnmatch.filter(p.stdout.split(), pattern)
    return max(names, key=lambda n: [int(x) for x in re.findall(r"\d+", n)], default=None)


class Results:
    """Of the tests in one guest, from what it wrote (guest.py)."""

    def __init__(self, release):
        self.release = release
        self.selected = []
        self.done = {}  # test: what guest.py wrote at its end
        self.under_way = None
        self.start = time.monotonic()
        self.seconds = 0.0

    def add(self, lines):
        for line in lines:
            try:
                got = json.loads(line)
            except ValueError:  # cut off where the guest died
                continue
            if "selected" in got:
                self.selected = got["selected"]
                print(f"  {self.release}: {len(self.selected)} tests, after {time.monotonic() - self.start:.0f} s", flush=True)
            elif "begin" in got:
                self.under_way = got["begin"]
            else:
                self.done[got["test"]] = got
                self.under_way = None
                print(f"  {self.release}: {got['outcome']:7} {got['seconds']:6.1f} s  {got['test']}", flush=True)

    def end(self, wrong, console):
        """Who has no result has failed; the first of them comes with what the console said."""
        self.seconds = time.monotonic() - self.start
        what = wrong or "the guest ended"
        for test in self.selected or ["(guest)"]:
            if test not in self.done:
                hung = test == self.under_way or not wrong
                text = f"{'it hung, or its process died' if hung else 'no result'}; {what}; console:\n{console[-MAX_SHOWN:]}"
                self.done[test] = {"outcome": "failed", "text": text}
                console = ""

    def of(self, outcome):
        return [(t, d) for t, d in self.done.items() if d["outcome"] == outcome]

    def counts(self):
        return [len(self.of(o)) for o in ("passed", "failed", "skipped")]

    def show(self):
        for test, d in self.done.items():
            for name, value in d.get("figures", {}).items():
                print(f"    {name:60} {value}")
        for test, d in self.of("failed"):
            print(f"\nFAILED {self.release}: {test}\n    " + d["text"].strip().replace("\n", "\n    "))
        reasons = [d["text"] for _, d in self.of("skipped")]
        for reason in sorted(set(reasons)):
            print(f"    skipped {reasons.count(reason)}: {reason}")


def run_tests(kernel, image):
    results = Results(kernel.release)
    wrong, console, _ = kernel.boot(image, results.add)
    results.end(wrong, console)
    results.show()
    return results


def show_table(kernels):
    """As the README has it."""
    today = datetime.date.today().isoformat()
    print("\n| kernel | date | passed | failed | skipped | minutes |\n| --- | --- | --- | --- | --- | --- |")
    for r in kernels:
        print(f"| {r.release} | {today} | " + " | ".join(map(str, r.counts())) + f" | {r.seconds / 60:.0f} |")


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--output", default=".output")
    options.add_argument("-k", default=SELECT)
    options.add_argument("--command")
    options.add_argument("packages", nargs="+")
    o = options.parse_args()
    folder = os.path.join(os.path.abspath(o.output), "kernels")
    os.makedirs(folder, exist_ok=True)
    command = o.command or initramfs.pytest_command(o.output, E2E, TESTS, " ".join(o.k.split()), TEST_LIMIT_S)
    image = initramfs.build(os.path.join(folder, "initramfs.cpio"), o.output, E2E, command)
    start = time.monotonic()
    total, kernels = [0, 0, 0], []
    for pattern in o.packages:
        package = newest(pattern)
        if not package:
            print(f"\n  {pattern}: this machine's package sources have no such kernel")
            total[2] += 1
            continue
        kernel = Kernel(package, folder)
        kernel.fetch()
        if o.command:
            wrong, console, results = kernel.boot(image)
            print(f"== {kernel.release}\n{console}{''.join(results)}" + (wrong or ""))
            total[1 if wrong else 0] += 1
        else:
            kernels.append(run_tests(kernel, image))
            total = [a + b for a, b in zip(total, kernels[-1].counts())]
    show_table(kernels)
    print(f"\n{time.monotonic() - start:.0f} s")
    print(f"{total[0]} passed, {total[1]} failed, {total[2]} skipped")
    return 1 if total[1] else 0


if __name__ == "__main__":
    if not shutil.which("qemu-system-x86_64"):
        sys.exit("test-kernels: qemu-system-x86_64 is missing")
    sys.exit(main())
