# SPDX-License-Identifier: Apache-2.0
"""What a session that runs for months meets: numbers that are given again, thousands of exits, files that are replaced, clocks
that are set."""
import ctypes
import os
import shutil
import signal
import subprocess
import time

import pytest

import harness
from harness import wait_for
from test_discovery import children_of, stop_wrapped, wrapped


@pytest.fixture
def pod():
    """A PID namespace of its own; the words that bring a program into it."""
    p = subprocess.Popen(["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "sleep", "1000"])
    pause = str(wait_for(lambda: children_of(p.pid), "the first process of the namespace")[0])
    wait_for(lambda: os.readlink(f"/proc/{pause}/exe").endswith("/sleep"), "it to run")
    yield ("nsenter", "--target", pause, "--pid", "--mount")
    p.kill()
    p.wait()


@pytest.mark.skipif(not os.access("/proc/sys/kernel/ns_last_pid", os.W_OK), reason="this kernel cannot be told which number is next")
def test_pid_reuse(spanhound, program, tmp_path, pod):
    """Who gets the number of a process that was traced is somebody else: traced or not, and named, by what it is itself."""
    chosen, other = str(tmp_path / "chosen-one"), str(tmp_path / "other-one")
    for path in (chosen, other):
        shutil.copy(harness.program_path("o2", "calls"), path)
    number = 5000
    prefix = (*pod, "sh", "-c", f'exec 3<&0; echo {number - 1} > /proc/sys/kernel/ns_last_pid; "$@" <&3 & wait $!', "sh")
    s = spanhound("--name", "chosen-one", "-f", "p_*", "--wait", binary=wrapped(str(tmp_path), *pod), wait_ready=False)
    s.wait_line("waiting")
    inner = wait_for(lambda: children_of(s.pid), "the program in the wrapper")[0]
    calls = {}
    for turn, path in enumerate((chosen, other, chosen, chosen, other)):
        p = program("calls", "nested", path=path, prefix=prefix, env={"DD_SERVICE": f"turn-{turn}"})
        assert p.said_pid == number
        if path == chosen:
            # Who prints a summary is done with what came before.
            said = f"spanhound: {len(calls) + 1} process"
            wait_for(lambda said=said: os.kill(inner, signal.SIGUSR1) or said in s.stderr, "it to be traced")
            calls[f"turn-{turn}"] = len(p.run().calls)
        else:
            p.run()
        assert p.status == 0
    r = stop_wrapped(s)
    seen = {service: sum(x["service"] == service for x in r.spans) for service in {x["service"] for x in r.spans}}
    assert seen == calls
    assert {x["metrics"]["process_id"] for x in r.spans if "process_id" in x["metrics"]} == {number}


@pytest.mark.parametrize("cnt, rate", [(1000, 0), pytest.param(10000, 170, marks=[pytest.mark.soak, pytest.mark.timeout(400)])])
def test_exits(spanhound, program, cnt, rate):
    """Ten thousand targets end in a minute: each call is seen, and nothing is held for those who are gone."""
    p = program("calls", "exits", str(cnt), str(rate))
    s = spanhound("--pid", p.pid, "-f", "p_*")
    before = len(os.listdir(f"/proc/{s.pid}/fd"))
    p.go().finish(300)
    assert p.status == 0
    wait_for(lambda: len(os.listdir(f"/proc/{s.pid}/fd")) <= before, "descriptors to be closed")
    r = s.stop()
    assert len(r.spans) == len(p.calls) == cnt, r.summary
    assert len({x["metrics"]["process_id"] for x in r.spans}) > cnt * 0.99 and not r.dropped


def test_library_replaced_while_mapped(spanhound, program, tmp_path):
    """An upgrade of a library: who has the old one mapped goes on with it, who starts later has the new one, and both are
    traced, those who come before spanhound and those who come after."""
    library = str(tmp_path / "libplug.so.1")
    source = harness.program_path("o2", "libplug.so.1")
    shutil.copy(source, library)

    def start():
        p = program("late", "dlopen_hold", library).go()
        wait_for(lambda: "libplug" in open(f"/proc/{p.pid}/maps").read(), "the library to be loaded")
        return p

    def replace():
        shutil.copy(source, library + ".new")
        os.rename(library + ".new", library)

    config = harness.write(tmp_path, "plug.yaml", "probes:\n  - function: p_plug_*\n    library: libplug.so*\n")
    first = start()
    replace()
    second = start()
    s = spanhound("--pid", f"{first.pid},{second.pid}", "-c", config)
    replace()
    for p in (first, second):
        p.run()
        assert p.status == 0
    r = s.stop()
    for p in (first, second):
        mine = [x for x in r.named("p_plug_work") if x["metrics"]["thread.id"] == p.pid]
        assert len(mine) == sum(c.function == "p_plug_work" for c in p.calls) == 100


# --- clocks ------------------------------------------------------------------------------------------------------------

class Timespec(ctypes.Structure):
    _fields_ = [("sec", ctypes.c_long), ("nsec", ctypes.c_long)]


def step_clock(ns):
    now = time.time_ns() + ns
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.clock_settime(0, ctypes.byref(Timespec(now // 10**9, now % 10**9))):
        pytest.skip("the clock cannot be set here")


@pytest.mark.soak
@pytest.mark.alone
def test_clock_steps(spanhound, hot):
    """The wall clock is set while calls are made, and set right again: spans last as long as they did, and begin when the clock
    says that they do."""
    h = hot(1, 1000)
    s = spanhound("--pid", h.pid, "-f", "p_hot")
    h.go()

    def spans_of_now(cnt):
        def are_there():
            spans, now = harness.read_spans_so_far(s.spans_path), time.time_ns()
            return sum(abs(now - x["start"]) < 1.5e9 for x in spans) > cnt
        wait_for(are_there, "spans of the time that it is")

    spans_of_now(100)
    for step in (3, -3, -4, 4):
        step_clock(step * 10**9)
        try:
            spans_of_now(100)
        except BaseException:
            step_clock(-step * 10**9)
            raise
    out = h.stop()
    r = s.stop()
    assert len(r.spans) == out["calls"] and max(x["duration"] for x in r.spans) < 1e9
    assert r.stderr.count("the wall clock went") == 4
