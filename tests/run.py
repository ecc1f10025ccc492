# SPDX-License-Identifier: Apache-2.0
"""Runs every test that was built: unit, fuzz (some seconds each), lint, golden, packages, e2e. Last line:

    N passed, N failed, N skipped

    tests/run.py --output .output [--only PART,...] [-k EXPRESSION]

Exit status 0 only when nothing failed. -k goes to pytest."""
import argparse
import concurrent.futures
import glob
import os
import re
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree

HERE = os.path.dirname(os.path.abspath(__file__))
FUZZ_SECONDS = int(os.environ.get("FUZZ_SECONDS", "2"))
UNIT_TIMEOUT_S = 300
EMULATED_TIMEOUT_S = int(os.environ.get("TEST_EMULATED_TIMEOUT", "400"))  # of one program; the longest take a minute
E2E_TIMEOUT_S = 3 * 3600 if os.environ.get("SPANHOUND_SOAK") == "1" else 1500  # the longest of them takes an hour
GOLDEN_TIMEOUT_S = 300
PACKAGES_TIMEOUT_S = 900
CPUS = len(os.sched_getaffinity(0))
E2E_WORKERS = CPUS + 2  # they wait more than they work, and one has a long test (early)
MAX_SECOND_ATTEMPTS = 5  # more are no accident
# A failure is shown in full, but not a novel.
MAX_SHOWN = 6000


class Part:
    def __init__(self, name):
        self.name = name
        self.passed = 0
        self.failed = []   # (test, text)
        self.skipped = []  # (test, reason)
        self.unsteady = []  # (test, text): failed, and passed at the second attempt
        self.begin = time.monotonic()
        self.seconds = 0.0

    def end(self):
        self.seconds = time.monotonic() - self.begin
        print(f"  {self.name:8} {self.passed:5} passed {len(self.failed):4} failed {len(self.skipped):4} skipped "
              f"{self.seconds:7.1f} s", flush=True)
        return self


def kill_group(pgid):
    try:
        os.killpg(pgid, signal.SIGKILL)
    except ProcessLookupError:
        pass


RUNNING = set()  # process groups of run()


def run(command, timeout, **kwargs):
    """(status, output); status None: it had to be killed, with whatever it had started: who still holds the pipe keeps us
    reading, long after the program itself has ended."""
    p = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                         start_new_session=True, text=True, errors="replace", **kwargs)
    RUNNING.add(p.pid)
    timed_out = threading.Event()

    def kill():
        timed_out.set()
        kill_group(p.pid)
    watchdog = threading.Timer(timeout, kill)
    watchdog.start()
    try:
        out, _ = p.communicate()
    finally:
        watchdog.cancel()
        RUNNING.discard(p.pid)
    return (None, f"{out}\nkilled after {timeout} s") if timed_out.is_set() else (p.returncode, out)


def run_all(commands, timeout, **kwargs):
    """run() of each, as many at a time as there are CPUs; the results in their order."""
    with concurrent.futures.ThreadPoolExecutor(CPUS) as pool:
        try:
            return list(pool.map(lambda c: run(c, timeout, **kwargs), commands))
        except KeyboardInterrupt:  # they have sessions of their own, which the terminal tells nothing
            pool.shutdown(wait=False, cancel_futures=True)
            for pgid in list(RUNNING):
                kill_group(pgid)
            raise


def binaries(output, folder, prefix):
    found = sorted(glob.glob(os.path.join(output, folder, f"{prefix}*")))
    return [os.path.abspath(x) for x in found if os.access(x, os.X_OK) and os.path.isfile(x) and not os.path.splitext(x)[1]]


def read_tap(part, prefix, status, output):
    """TAP of one program. A test that the plan promised and that never reported has failed, too."""
    planned = re.search(r"^1\.\.(\d+)", output, re.M)
    seen, notes, previous = 0, [], None
    for line in output.splitlines():
        m = re.match(r"(not )?ok \d+ (?:- (.*)|# SKIP (.*))$", line)
        if not m:
            notes.append(line)
            if previous is not None and line.startswith("#"):
                part.failed[previous] = (part.failed[previous][0], part.failed[previous][1] + line + "\n")
            continue
        seen += 1
        name, _, directive = (m.group(2) or f"{m.group(3)} # SKIP").partition(" # ")  # cmocka's skip() gives no reason
        previous = None
        if directive.upper().startswith("SKIP"):
            part.skipped.append((f"{prefix}{name}", directive[4:].strip() or "the test skipped itself"))
        elif m.group(1):
            part.failed.append((f"{prefix}{name}", "\n".join(notes[-20:]) + "\n"))
            previous = len(part.failed) - 1
        else:
            part.passed += 1
        notes = []
    missing = int(planned.group(1)) - seen if planned else int(seen == 0 or status != 0)
    if missing > 0 or (status != 0 and not part.failed):
        part.failed.append((f"{prefix}(process)", f"exit status {status}, {seen} results of {planned.group(1) if planned else '?'}\n"
                            + output[-MAX_SHOWN:]))


def unit(output, emulator):
    part = Part("unit")
    found = binaries(output, "unit", "test_")
    prefix, timeout = ([emulator], EMULATED_TIMEOUT_S) if emulator else ([], UNIT_TIMEOUT_S)
    results = run_all([[*prefix, x] for x in found], timeout, env=dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP"))
    for binary, (status, out) in zip(found, results):
        read_tap(part, f"{os.path.basename(binary).removeprefix('test_')}/", status, out)
    if emulator:
        skip_emulated(part)
    return part.end()


def skip_emulated(part):
    """What fails for a reason that is the emulator's and was written down; where it passes, it counts."""
    with open(os.path.join(HERE, "unit", "emulated.skip"), encoding="utf-8") as f:
        reasons = dict(line.split(None, 1) for line in f if line.strip() and not line.startswith("#"))
    for name, text in list(part.failed):
        if name in reasons:
            part.failed.remove((name, text))
            part.skipped.append((name, reasons[name].strip()))


def fuzz(output):
    part = Part("fuzz")
    found = binaries(output, "fuzz", "fuzz_")
    results = run_all([[os.path.join(HERE, "fuzz", "run"), x, str(FUZZ_SECONDS)] for x in found], FUZZ_SECONDS + 60)
    for binary, (status, out) in zip(found, results):
        runs = re.search(r"stat::number_of_executed_units:\s*(\d+)", out)
        if status == 0 and runs and int(runs.group(1)) > 0:
            part.passed += 1
        else:
            part.failed.append((os.path.basename(binary), out[-MAX_SHOWN:]))
    return part.end()


def lint(_output):
    part = Part("lint")
    status, out = run([os.path.join(HERE, "lint", "run"), "--tap"], 120)
    read_tap(part, "", status, out)
    return part.end()


def pytest(part, output, folder, expression, timeout, process="all", options=(), tests=()):
    """One process of pytest (with the workers it starts), its results added to the part. tests: only these."""
    results = os.path.join(output, f"{part.name}-{process}.xml")
    if os.path.exists(results):
        os.unlink(results)
    command = [sys.executable, "-m", "pytest", *(tests or [os.path.join(HERE, folder)]), "-q", "-p", "no:cacheprovider",
               f"--junit-xml={results}", "--tb=short", "--no-header", "-o", "console_output_style=count", "--show-capture=no",
               *options, *(["-k", expression] if expression else [])]
    env = dict(os.environ, SPANHOUND_OUTPUT=os.path.abspath(output), PYTHONDONTWRITEBYTECODE="1", PYTHONUNBUFFERED="1")
    p = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        status = p.wait(timeout)
    except subprocess.TimeoutExpired:
        os.killpg(p.pid, 9)
        p.wait()
        status = None
    read_junit(part, f"{part.name}, {process}", results, status, timeout)
    return part


def read_junit(part, process, results, status, timeout):
    """A process that ended without results, or badly in spite of good ones, has failed, too."""
    try:
        tree = ElementTree.parse(results)
    except (OSError, ElementTree.ParseError):
        part.failed.append((f"{process} (process)", f"pytest gave no results: exit status {status}"
                            + (f", killed after {timeout} s" if status is None else "")))
        return
    for case in tree.iter("testcase"):
        test = f"{case.get('classname', '').split('.')[-1]}::{case.get('name')}"
        bad = case.find("failure") if case.find("failure") is not None else case.find("error")
        skip = case.find("skipped")
        if bad is not None:
            part.failed.append((test, f"{bad.get('message', '')}\n{bad.text or ''}"[:MAX_SHOWN]))
        elif skip is not None:
            part.skipped.append((test, skip.get("message", "")))
        else:
            part.passed += 1
    if status not in (0, 1, 5):
        part.failed.append((f"{process} (process)", f"pytest ended with {status}"))


def golden(output, expression):
    return pytest(Part("golden"), output, "golden", expression, GOLDEN_TIMEOUT_S).end()


def packages(output, expression):
    return pytest(Part("packages"), output, "packages", expression, PACKAGES_TIMEOUT_S).end()


def e2e(output, expression):
    """Most tests run side by side, and mostly wait: for the kernel to let go of probes. Those that load the machine or
    measure time come after them, one by one."""
    part = Part("e2e")
    pytest(part, output, "e2e", expression, E2E_TIMEOUT_S, "together", ["-m", "not alone", "-n", str(E2E_WORKERS), "--dist", "loadgroup"])
    pytest(part, output, "e2e", expression, E2E_TIMEOUT_S, "alone", ["-m", "alone"])
    try_again(part, output)
    return part.end()


def node_id(test):
    """pytest's name of a test in junit's form, module::name, to which pytest-xdist has added @GROUP."""
    module, name = test.split("::", 1)
    name = name[:name.index("]@") + 1] if "]@" in name else name if "[" in name else name.partition("@")[0]
    return os.path.join(HERE, "e2e", f"{module}.py::{name}")


def try_again(part, output):
    """The machines that run this stop for seconds now and then. A test that failed is run once more, with nothing beside
    it: what fails always still does, and what passes then is named, with the way it failed."""
    if not 0 < len(part.failed) <= MAX_SECOND_ATTEMPTS or any("::" not in test for test, _ in part.failed):
        return
    again = Part(part.name)
    tests = [node_id(test) for test, _ in part.failed]
    pytest(again, output, "e2e", "", E2E_TIMEOUT_S, "again", tests=tests)
    if again.passed != len(tests):
        return
    part.passed += len(tests)
    part.unsteady = part.failed
    part.failed = []


def show(parts):
    for part in parts:
        for test, text in part.failed:
            print(f"\nFAILED {part.name}: {test}")
            print("    " + text.strip().replace("\n", "\n    "))
        for test, text in part.unsteady:
            print(f"\nUNSTEADY {part.name}: {test} passed at the second attempt; before:")
            print("    " + text.strip().replace("\n", "\n    "))
    reasons = {}
    for part in parts:
        for test, reason in part.skipped:
            reasons.setdefault((part.name, reason), []).append(test)
    for (name, reason), tests in reasons.items():
        print(f"\nskipped {len(tests)} of {name}: {reason}\n    {', '.join(tests[:4])}{', ...' if len(tests) > 4 else ''}")
    print(f"\n  {'part':9}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}")
    for p in parts:
        print(f"  {p.name:9}{p.passed:8}{len(p.failed):8}{len(p.skipped):9}{p.seconds:9.1f}")


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--output", default=".output")
    options.add_argument("--only", default="")
    options.add_argument("-k", default="")
    options.add_argument("--emulator", default="", help="runs the unit tests in this one, when they are another architecture's")
    o = options.parse_args()
    runners = {
        "unit": lambda: unit(o.output, o.emulator),
        "lint": lambda: lint(o.output),
        "fuzz": lambda: fuzz(o.output),
        "golden": lambda: golden(o.output, o.k),
        "packages": lambda: packages(o.output, o.k),
        "e2e": lambda: e2e(o.output, o.k),
    }
    only = [x for x in o.only.split(",") if x]
    unknown = set(only) - set(runners)
    if unknown:
        options.error(f"no part {', '.join(unknown)}; there are {', '.join(runners)}")
    parts = [runner() for name, runner in runners.items() if not only or name in only]
    show(parts)
    passed, failed, skipped = (sum(x) for x in zip(*((p.passed, len(p.failed), len(p.skipped)) for p in parts)))
    print(f"\n{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
