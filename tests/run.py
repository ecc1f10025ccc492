# SPDX-License-Identifier: Apache-2.0
"""Runs every test that was built: unit, fuzz (some seconds each), lint, golden, e2e. Last line:

    N passed, N failed, N skipped

    tests/run.py --output .output [--only PART,...] [-k EXPRESSION]

Exit status 0 only when nothing failed. -k goes to pytest."""
import argparse
import glob
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

HERE = os.path.dirname(os.path.abspath(__file__))
FUZZ_SECONDS = int(os.environ.get("FUZZ_SECONDS", "5"))
UNIT_TIMEOUT_S = 300
E2E_TIMEOUT_S = 3600 if os.environ.get("SPANHOUND_SOAK") == "1" else 1500
# A failure is shown in full, but not a novel.
MAX_SHOWN = 6000


class Part:
    def __init__(self, name):
        self.name = name
        self.passed = 0
        self.failed = []   # (test, text)
        self.skipped = []  # (test, reason)
        self.begin = time.monotonic()
        self.seconds = 0.0

    def end(self):
        self.seconds = time.monotonic() - self.begin
        print(f"  {self.name:7} {self.passed:5} passed {len(self.failed):4} failed {len(self.skipped):4} skipped "
              f"{self.seconds:7.1f} s", flush=True)
        return self


def run(command, timeout, **kwargs):
    """(status, output); status None: it had to be killed."""
    try:
        p = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                           timeout=timeout, text=True, errors="replace", **kwargs)
        return p.returncode, p.stdout
    except subprocess.TimeoutExpired as e:
        out = e.stdout.decode(errors="replace") if isinstance(e.stdout, bytes) else e.stdout or ""
        return None, f"{out}\nkilled after {timeout} s"


def read_tap(part, prefix, status, output):
    """TAP of one program. A test that the plan promised and that never reported has failed, too."""
    planned = re.search(r"^1\.\.(\d+)", output, re.M)
    seen, notes, previous = 0, [], None
    for line in output.splitlines():
        m = re.match(r"(not )?ok \d+ - (.*)$", line)
        if not m:
            notes.append(line)
            if previous is not None and line.startswith("#"):
                part.failed[previous] = (part.failed[previous][0], part.failed[previous][1] + line + "\n")
            continue
        seen += 1
        name, _, directive = m.group(2).partition(" # ")
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


def unit(output):
    part = Part("unit")
    for binary in sorted(glob.glob(os.path.join(output, "unit", "test_*"))):
        if not os.access(binary, os.X_OK) or os.path.splitext(binary)[1]:
            continue
        name = os.path.basename(binary).removeprefix("test_")
        status, out = run([os.path.abspath(binary)], UNIT_TIMEOUT_S, env=dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP"))
        read_tap(part, f"{name}/", status, out)
    return part.end()


def fuzz(output):
    part = Part("fuzz")
    for binary in sorted(glob.glob(os.path.join(output, "fuzz", "fuzz_*"))):
        if not os.access(binary, os.X_OK) or os.path.splitext(binary)[1] or os.path.isdir(binary):
            continue
        name = os.path.basename(binary)
        status, out = run([os.path.join(HERE, "fuzz", "run"), binary, str(FUZZ_SECONDS)], FUZZ_SECONDS + 60)
        runs = re.search(r"stat::number_of_executed_units:\s*(\d+)", out)
        if status == 0 and runs and int(runs.group(1)) > 0:
            part.passed += 1
        else:
            part.failed.append((name, out[-MAX_SHOWN:]))
    return part.end()


def lint(_output):
    part = Part("lint")
    status, out = run([os.path.join(HERE, "lint", "run"), "--tap"], 120)
    read_tap(part, "", status, out)
    return part.end()


def pytest(name, folder, output, expression, timeout):
    part = Part(name)
    results = os.path.join(output, f"{name}-results.xml")
    if os.path.exists(results):
        os.unlink(results)
    command = [sys.executable, "-m", "pytest", folder, "-q", "-p", "no:cacheprovider", f"--junit-xml={results}", "--tb=short",
               "--no-header", "-o", "console_output_style=count", "--show-capture=no", *(["-k", expression] if expression else [])]
    env = dict(os.environ, SPANHOUND_OUTPUT=os.path.abspath(output), PYTHONDONTWRITEBYTECODE="1", PYTHONUNBUFFERED="1")
    process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        status = process.wait(timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.wait()
        status = None
    try:
        tree = ElementTree.parse(results)
    except (OSError, ElementTree.ParseError):
        part.failed.append((f"{name} (process)", f"pytest gave no results: exit status {status}"
                            + (f", killed after {timeout} s" if status is None else "")))
        return part.end()
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
        part.failed.append((f"{name} (process)", f"pytest ended with {status}"))
    return part.end()


def show(parts):
    for part in parts:
        for test, text in part.failed:
            print(f"\nFAILED {part.name}: {test}")
            print("    " + text.strip().replace("\n", "\n    "))
    reasons = {}
    for part in parts:
        for test, reason in part.skipped:
            reasons.setdefault((part.name, reason), []).append(test)
    for (name, reason), tests in reasons.items():
        print(f"\nskipped {len(tests)} of {name}: {reason}\n    {', '.join(tests[:4])}{', ...' if len(tests) > 4 else ''}")
    print(f"\n  {'part':8}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}")
    for p in parts:
        print(f"  {p.name:8}{p.passed:8}{len(p.failed):8}{len(p.skipped):9}{p.seconds:9.1f}")


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--output", default=".output")
    options.add_argument("--only", default="")
    options.add_argument("-k", default="")
    o = options.parse_args()
    runners = {
        "unit": lambda: unit(o.output),
        "lint": lambda: lint(o.output),
        "fuzz": lambda: fuzz(o.output),
        "golden": lambda: pytest("golden", os.path.join(HERE, "golden"), o.output, o.k, 300),
        "e2e": lambda: pytest("e2e", os.path.join(HERE, "e2e"), o.output, o.k, E2E_TIMEOUT_S),
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
