# SPDX-License-Identifier: Apache-2.0
"""Boots kernels of Debian packages in QEMU and runs a part of the e2e tests there. Nothing is installed, on no disk:
the guest lives in an initramfs of files of this machine. Last line:

    N passed, N failed, N skipped

    tests/kernels/run.py --output .output PACKAGE... [-k EXPRESSION] [--command COMMAND]

A package is a name or a pattern of names, of which the newest is taken. Exit status 0 only when nothing failed.
--command runs a shell command in each guest instead of the tests and shows what it said."""
import argparse
import fnmatch
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import initramfs

HERE = os.path.dirname(os.path.abspath(__file__))
E2E = os.path.join(os.path.dirname(HERE), "e2e")
# Emulated, and on a loaded machine; a guest that takes longer hangs.
GUEST_TIMEOUT_S = int(os.environ.get("TEST_KERNEL_TIMEOUT", "2400"))
# kvm where the machine really has it; emulation runs everywhere.
ACCEL = os.environ.get("TEST_KERNEL_ACCEL", "tcg")
MEMORY_MB = 2048
MAX_SHOWN = 4000

# What differs between kernels: how programs load and link, and what the kernel half sees. Of the rest the guests, which
# are some twenty times slower than a machine, run what one load of the programs covers much with.
TESTS = ["test_kernel.py", "test_inject.py", "test_inject_older.py", "test_run.py", "test_probe_list.py", "test_ground_truth.py"]
SELECT = """
    test_kernel
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

    def boot(self, image):
        """Runs the guest to its end: (None or what went wrong, console, what it wrote to the second serial port)."""
        console, results = (os.path.join(self.folder, f) for f in ("console.log", "results"))
        for path in (console, results):
            open(path, "wb").close()
        command = ["qemu-system-x86_64", "-accel", ACCEL, "-cpu", "max", "-smp", "2", "-m", str(MEMORY_MB),
                   "-display", "none", "-no-reboot", "-nodefaults", "-kernel", self.image, "-initrd", image,
                   "-serial", f"file:{console}", "-serial", f"file:{results}",
                   "-append", "console=ttyS0 quiet panic=-1 oops=panic"]
        wrong = None
        try:
            subprocess.run(command, timeout=GUEST_TIMEOUT_S, check=True, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            wrong = f"the guest did not end within {GUEST_TIMEOUT_S} s"
        except subprocess.CalledProcessError as e:
            wrong = f"qemu ended with {e.returncode}"
        return wrong, *(open(p, encoding="utf-8", errors="replace").read().replace("\r", "") for p in (console, results))


def newest(pattern):
    """The package of that pattern whose name is of the highest version; None if there is none."""
    p = subprocess.run(["apt-cache", "pkgnames", pattern.split("*")[0]], stdout=subprocess.PIPE, text=True, check=True)
    names = fnmatch.filter(p.stdout.split(), pattern)
    return max(names, key=lambda n: [int(x) for x in re.findall(r"\d+", n)], default=None)


def read_results(text):
    """(passed, [(test, text)] failed, [(test, reason)] skipped, {figure: value}) of pytest's junit file."""
    passed, failed, skipped, figures = 0, [], [], {}
    for case in ElementTree.fromstring(text).iter("testcase"):
        test = f"{case.get('classname', '').split('.')[-1]}::{case.get('name')}"
        bad = case.find("failure") if case.find("failure") is not None else case.find("error")
        if bad is not None:
            failed.append((test, f"{bad.get('message', '')}\n{bad.text or ''}"[-MAX_SHOWN:]))
        elif case.find("skipped") is not None:
            skipped.append((test, case.find("skipped").get("message", "")))
        else:
            passed += 1
        for p in case.iter("property"):
            figures[p.get("name")] = p.get("value")
    return passed, failed, skipped, figures


def run_tests(kernel, image):
    wrong, console, results = kernel.boot(image)
    try:
        passed, failed, skipped, figures = read_results(results)
    except ElementTree.ParseError:
        passed, failed, skipped, figures = 0, [("(guest)", (wrong or "no results") + "\n" + console[-MAX_SHOWN:])], [], {}
    print(f"\n  {kernel.release}: {passed} passed, {len(failed)} failed, {len(skipped)} skipped", flush=True)
    for name, value in figures.items():
        print(f"    {name:60} {value}")
    for test, text in failed:
        print(f"\nFAILED {kernel.release}: {test}\n    " + text.strip().replace("\n", "\n    "))
    for reason in sorted({r for _, r in skipped}):
        print(f"    skipped {sum(r == reason for _, r in skipped)}: {reason}")
    return passed, len(failed), len(skipped)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--output", default=".output")
    options.add_argument("-k", default=SELECT)
    options.add_argument("--command")
    options.add_argument("packages", nargs="+")
    o = options.parse_args()
    folder = os.path.join(os.path.abspath(o.output), "kernels")
    os.makedirs(folder, exist_ok=True)
    command = o.command or initramfs.pytest_command(o.output, E2E, TESTS, " ".join(o.k.split()))
    image = initramfs.build(os.path.join(folder, "initramfs.cpio"), o.output, E2E, command)
    total = [0, 0, 0]
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
            print(f"== {kernel.release}\n{console}{results}" + (wrong or ""))
            total[1 if wrong else 0] += 1
        else:
            total = [a + b for a, b in zip(total, run_tests(kernel, image))]
    print(f"\n{total[0]} passed, {total[1]} failed, {total[2]} skipped")
    return 1 if total[1] else 0


if __name__ == "__main__":
    if not shutil.which("qemu-system-x86_64"):
        sys.exit("test-kernels: qemu-system-x86_64 is missing")
    sys.exit(main())
