# SPDX-License-Identifier: Apache-2.0
"""Starts spanhound and the programs it traces, waits on conditions (never for a fixed time), gathers what came out."""
import gc
import json
import os
import resource
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import dataclass

import truth

# Millions of spans are read here and none is part of a cycle: looking for cycles takes as long as reading them.
gc.disable()

OUTPUT = os.path.abspath(os.environ.get("SPANHOUND_OUTPUT", ".output"))
BINARY = os.path.join(OUTPUT, "spanhound")
# One of the processes that run tests at the same time (pytest-xdist), or None.
WORKER = os.environ.get("PYTEST_XDIST_WORKER")
BUILT = os.path.realpath(os.path.join(OUTPUT, "programs"))  # as /proc/PID/exe will say
PROGRAMS = f"{BUILT}-{WORKER}" if WORKER else BUILT
SOAK = os.environ.get("SPANHOUND_SOAK") == "1"

# Emulated machines (tests/kernels) are slower than any real one: that many times all timeouts.
PATIENCE = int(os.environ.get("SPANHOUND_PATIENCE", "1"))
# Loaded machines are slow; a condition that has not come true by then never will.
PATIENCE_S = 60 * PATIENCE

LINKS = ("session", "multi", "perf")
ENDS = ("return", "sites")


def wait_for(condition, what, timeout=PATIENCE_S):
    """The first true value of condition(), asked again and again."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout} s in vain for {what}")
        time.sleep(0.005)


def take_programs():
    """Breakpoints sit in a file, for all who run it: each worker has the programs to itself, in files of its own."""
    if WORKER:
        shutil.rmtree(PROGRAMS, ignore_errors=True)
        shutil.copytree(BUILT, PROGRAMS, ignore=shutil.ignore_patterns("*.o", "*.d"))


def leave_programs():
    if WORKER:
        shutil.rmtree(PROGRAMS, ignore_errors=True)


def program_path(variant, program):
    return os.path.join(PROGRAMS, variant, program)


def _no_core():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def target_environment(extra=None):
    """What a target inherits: nothing of Datadog's or OpenTelemetry's that would name its service."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("DD_", "OTEL_", "TRUTH_"))}
    env.update(extra or {})
    return env


class Program:
    """A ground-truth program (programs/truth.h): started, waiting for go()."""

    def __init__(self, tmp, program, case, *args, variant="o2", path=None, env=None, prefix=(), skip_path=False):
        self.path = path or program_path(variant, program)
        self.case = case
        self.log = os.path.join(tmp, f"truth-{os.path.basename(self.path)}-{case}-{'-'.join(args)[-20:].replace('/', '_')}"
                                     f"-{time.monotonic_ns()}.log")
        command = [*prefix, *([] if skip_path else [self.path]), self.log, case, *args]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        env=target_environment(env), preexec_fn=_no_core)
        self.stderr = ""
        self._errors = threading.Thread(target=self._read_errors, daemon=True)
        self._errors.start()
        line = self.process.stdout.readline()
        assert line.startswith("pid "), f"{command} said {line!r} {self.stderr}"
        self.said_pid = int(line.split()[1])  # in its own PID namespace
        self.pid = self.process.pid
        self.stdout = None
        self.status = None

    def _read_errors(self):
        for line in self.process.stderr:
            self.stderr += line

    def go(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self

    def finish(self, timeout=PATIENCE_S):
        """Waits until it and its descendants (who hold its stdout) ended."""
        watchdog = threading.Timer(timeout, self.process.kill)
        watchdog.start()
        try:
            self.stdout = self.process.stdout.read()
            self.status = self.process.wait()
        finally:
            watchdog.cancel()
        return self

    def run(self):
        return self.go().finish()

    @property
    def calls(self):
        return truth.read(self.log)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            try:
                pipe.close()
            except OSError:
                pass


class Hot:
    """The hot loop (programs/hot.c): waiting for go()."""

    def __init__(self, threads=1, rate=0, seconds=0, variant="o2", path=None):
        self.path = path or program_path(variant, "hot")
        self.process = subprocess.Popen([self.path, str(threads), str(rate), str(seconds)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=target_environment())
        assert self.process.stdout.readline().startswith("pid ")
        self.pid = self.process.pid

    def go(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self

    def stop(self):
        """Its own account: calls, bad, sum. It must not have been harmed."""
        if self.process.poll() is None:
            self.process.terminate()
        return self._account(PATIENCE_S)

    def stop_by_itself(self, timeout=PATIENCE_S):
        """Its account after the seconds it was given."""
        return self._account(timeout)

    def _account(self, timeout):
        watchdog = threading.Timer(timeout, self.process.kill)
        watchdog.start()
        out = self.process.stdout.read()
        status = self.process.wait()
        watchdog.cancel()
        assert status == 0, f"the target was harmed: exit status {status}, said {out!r}"
        result = json.loads(out)
        assert result["bad"] == 0, result
        return result

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@dataclass
class Result:
    status: int
    stdout: str
    stderr: str
    spans: list
    summary: dict
    offset_ns: int  # Unix time - monotonic time

    @property
    def dropped(self):
        return {k: v for k, v in self.summary["dropped"].items() if v}

    def named(self, name):
        return [s for s in self.spans if s["resource"] == name or s["name"] == name]


def read_spans(path):
    spans = []
    if os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            for number, line in enumerate(f, 1):
                try:
                    spans.append(json.loads(line))
                except ValueError as e:
                    raise AssertionError(f"{path}:{number}: not JSON ({e}): {line[:300]!r}") from None
    # They are written as their traces are finished. A server's threads end in any order; what began first is known.
    spans.sort(key=lambda s: s["start"])
    return spans


def read_spans_so_far(path):
    """Of a file that is being written: its whole lines."""
    try:
        with open(path, encoding="utf-8") as f:
            return [json.loads(line) for line in f if line.endswith("\n")]
    except FileNotFoundError:
        return []


def assert_identity(summary):
    dropped = sum(summary["dropped"].values())
    assert summary["seen"] == summary["exported"] + dropped, \
        f"seen {summary['seen']} != exported {summary['exported']} + dropped {dropped} {summary['dropped']}"
    for reason, cnt in summary["dropped"].items():
        assert cnt >= 0, f"dropped{{{reason}}} is {cnt}"


def assert_well_formed(spans):
    ids = set()
    for s in spans:
        for key, kind in (("service", str), ("name", str), ("resource", str), ("trace_id", int), ("span_id", int),
                          ("parent_id", int), ("start", int), ("duration", int), ("error", int)):
            assert isinstance(s.get(key), kind), f"{key} of {s}"
        assert s["service"] and s["name"] and s["resource"], s
        assert 0 < s["trace_id"] < 1 << 64 and 0 < s["span_id"] < 1 << 64, s
        assert s["span_id"] not in ids, f"span id twice: {s}"
        assert s["parent_id"] != s["span_id"], s
        assert s["error"] in (0, 1) and s["duration"] >= 0, s
        assert all(isinstance(v, str) for v in s.get("meta", {}).values()), s
        assert all(isinstance(v, (int, float)) for v in s.get("metrics", {}).values()), s
        ids.add(s["span_id"])


# To load what puts headers into requests takes as long as all the rest: only tests that are of it do, or all of them if asked to.
HEADERS = os.environ.get("SPANHOUND_TEST_HEADERS") == "1"


def is_silent(command, args):
    """Says nothing of headers, in a command that puts some otherwise."""
    if command not in ("attach", "run") or {"--inject", "--no-inject", "--tcp-option"} & set(args):
        return False
    for option, path in zip(args, args[1:]):
        if option in ("-c", "--config") and os.path.exists(path):
            with open(path, encoding="utf-8", errors="replace") as f:
                return "propagation" not in f.read()
    return True


class Spanhound:
    """One running spanhound. stop() checks what every run must keep: exit status, identity, well-formed spans."""

    def __init__(self, tmp, *args, command="attach", export=True, env=None, wait_ready=True, binary=None, after=(), headers=HEADERS):
        tag = time.monotonic_ns()
        self.spans_path = os.path.join(tmp, f"spans-{tag}.json")
        self.summary_path = os.path.join(tmp, f"summary-{tag}.json")
        self.command = [binary or BINARY, command, *(["--no-inject"] if not headers and is_silent(command, args) else []), *map(str, args)]
        if export:
            self.command += ["--export", f"json:{self.spans_path}"]
        self.command += ["--summary", f"json:{self.summary_path}", *map(str, after)]
        self.stderr_lines = []
        self.ready_line = None
        self._ready = threading.Event()
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, errors="replace",
                                        env=target_environment(env))
        self.pid = self.process.pid
        self.stdout = ""
        self._threads = [threading.Thread(target=self._read_stderr, daemon=True),
                         threading.Thread(target=self._read_stdout, daemon=True)]
        for t in self._threads:
            t.start()
        if wait_ready:
            self.wait_ready()

    def _read_stderr(self):
        for line in self.process.stderr:
            self.stderr_lines.append(line)
            if line.startswith("spanhound: ready:"):
                self.ready_line = line.strip()
                self._ready.set()
        self._ready.set()

    def _read_stdout(self):
        self.stdout = self.process.stdout.read()

    @property
    def stderr(self):
        return "".join(self.stderr_lines)

    def wait_ready(self, timeout=PATIENCE_S):
        self._ready.wait(timeout)
        if not self.ready_line:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{' '.join(self.command)}\nwas never ready; it said:\n{self.stderr}")
        return self

    def wait_line(self, text, timeout=PATIENCE_S):
        wait_for(lambda: text in self.stderr, f"{text!r} on stderr", timeout)

    def wait_exit(self, timeout=PATIENCE_S):
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{' '.join(self.command)}\ndid not end within {timeout} s; it said:\n{self.stderr}") from None
        for t in self._threads:
            t.join(10)  # a program it started may live on and hold the pipes
        return self.process.returncode

    def wait_spans(self, cnt):
        """So many spans in its file. In vain: what there was instead, and what became of the rest."""
        try:
            wait_for(lambda: len(read_spans_so_far(self.spans_path)) >= cnt, f"{cnt} spans")
        except AssertionError as e:
            got = self.stop(status=None)
            lines = "\n".join(json.dumps(x) for x in got.spans)
            raise AssertionError(f"{e}\n{got.summary}\n{got.stderr}{lines}") from None

    def stop(self, sig=signal.SIGINT, timeout=PATIENCE_S, status=0):
        if self.process.poll() is None:
            self.process.send_signal(sig)
        return self.result(timeout, status)

    def result(self, timeout=PATIENCE_S, status=0):
        """Waits for its end by itself (--duration, --count, the end of a `run` command). status None: any will do."""
        got = self.wait_exit(timeout)
        assert status is None or got == status, f"{' '.join(self.command)}\nexit status {got}, should be {status}; it said:\n{self.stderr}"
        with open(self.summary_path, encoding="utf-8") as f:
            summary = json.load(f)
        spans = read_spans(self.spans_path)
        assert_identity(summary)
        assert_well_formed(spans)
        assert summary["exported"] == len(spans) or "json:" + self.spans_path not in self.command, \
            f"exported {summary['exported']}, {len(spans)} lines in the file"
        return Result(got, self.stdout, self.stderr, spans, summary, time.time_ns() - time.monotonic_ns())

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def spanhound_once(*args, env=None, timeout=PATIENCE_S, binary=None, stdin=None):
    """A command that ends by itself: (status, stdout, stderr)."""
    p = subprocess.run([binary or BINARY, *map(str, args)], capture_output=True, text=True, errors="replace",
                       env=target_environment(env), timeout=timeout, stdin=stdin or subprocess.DEVNULL)
    return p.returncode, p.stdout, p.stderr


def cpu_ticks(pid):
    """Of its time, user and system."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
        return sum(int(x) for x in f.read().rsplit(")", 1)[1].split()[11:13])


def kernel_objects():
    """The BPF programs, links and maps of the machine, by kind and id."""
    found = set()
    for kind in ("prog", "link", "map"):
        p = subprocess.run(["bpftool", "-j", kind, "list"], capture_output=True, text=True)
        found |= {(kind, o["id"]) for o in json.loads(p.stdout or "[]")
                  if "id" in o}  # else it went while they were listed
    return found


def resident_kib(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS:"))


def kernel_objects_of(pid):
    """Those a process holds."""
    found = set()
    for fd in os.listdir(f"/proc/{pid}/fdinfo"):
        try:
            with open(f"/proc/{pid}/fdinfo/{fd}", encoding="utf-8") as f:
                lines = dict(line.split(":", 1) for line in f if ":" in line)
        except OSError:
            continue
        # A link's fdinfo names its program, too.
        kind = next((k for k in ("link", "prog", "map") if f"{k}_id" in lines), None)
        if kind:
            found.add((kind, int(lines[f"{kind}_id"])))
    return found


def are_gone(objects):
    return not objects & kernel_objects()


def has_bpf(pid):
    """Whether a process holds BPF programs."""
    try:
        return any("bpf-prog" in os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return False


def uprobes_in(pid, path):
    """Whether breakpoints or detours sit in the code a process runs: its memory compared with the file."""
    changed = 0
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps, open(path, "rb") as f:
        image = f.read()
        for line in maps:
            fields = line.split()
            if len(fields) < 6 or "x" not in fields[1] or fields[5] != os.path.realpath(path):
                continue
            start, end = (int(x, 16) for x in fields[0].split("-"))
            offset = int(fields[2], 16)
            with open(f"/proc/{pid}/mem", "rb") as mem:
                mem.seek(start)
                code = mem.read(end - start)
            want = image[offset:offset + len(code)]
            changed += sum(a != b for a, b in zip(code, want))
    return changed


def have_program(variant, program):
    return os.path.exists(program_path(variant, program))


def link_missing(info, link):
    """Why this kernel has no such link, from `info --json`; None: it has."""
    capability = info["capabilities"][{"session": "uprobe_session", "multi": "uprobe_multi", "perf": "perf_uprobe"}[link]]
    return None if capability["works"] else capability["why_not"] or "info does not say why"


def pids_of_exe(path):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/exe") == path:
                found.append(int(pid))
        except OSError:
            continue
    return found


def write(folder, name, text):
    path = os.path.join(str(folder), name)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


def kill_script(path):
    """Ends whoever runs this script: what a test started through spanhound and spanhound lost hold of."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                words = f.read().split(b"\0")
        except OSError:
            continue
        if path.encode() in words and int(pid) != os.getpid():
            os.kill(int(pid), signal.SIGKILL)
