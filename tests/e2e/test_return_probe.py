# SPDX-License-Identifier: Apache-2.0
"""A return probe can kill its target. First it is seen to happen, by another tracer; then that ours does not do it."""
import signal
import subprocess

import pytest

import harness
import truth
from test_lifecycle import bpftrace, bpftrace_end


@pytest.mark.alone  # other tests' perf events keep the kernel from letting bpftrace's go
def test_a_return_probe_kills_a_throwing_program(program):
    p = program("throws", "near")
    symbol = next(line.split()[-1] for line in subprocess.run(["nm", p.path], capture_output=True, text=True).stdout.splitlines()
                  if "probed" in line and "thrower" in line and "cold" not in line)
    other = bpftrace(f"uretprobe:{p.path}:{symbol} {{ @ = count(); }}", p.pid, p.path)
    try:
        p.run()
    finally:
        bpftrace_end(other)
    assert p.status == -signal.SIGABRT, "std::terminate: the unwinder cannot pass the trampoline"


def test_ours_refuses(program):
    """Asked for return probes and nothing else, it has none to offer here."""
    p = program("throws", "near")
    status, _, err = harness.spanhound_once("attach", "--pid", p.pid, "-f", "probed::thrower", "--end", "return")
    assert status == 2 and "exception" in err, err


@pytest.mark.parametrize("end", ["auto", "sites"])
def test_ours_does_not(spanhound, program, end):
    p = program("throws", "near")
    s = spanhound("--pid", p.pid, "-f", "probed::*", "--end", end)
    p.run()
    r = s.stop()
    assert p.status == 0, p.stderr
    truth.assert_same_tree(p.calls, r.spans, r.offset_ns)


@pytest.mark.alone  # other tests' perf events keep the kernel from letting bpftrace's go
def test_a_return_probe_kills_a_panicking_program(program):
    if not harness.have_program("o2", "panics"):
        pytest.skip("no rustc: the Rust program was not built")
    p = program("panics", "caught")
    symbol = next(line.split()[-1] for line in subprocess.run(["nm", p.path], capture_output=True, text=True).stdout.splitlines()
                  if "6probed6panics" in line)
    other = bpftrace(f"uretprobe:{p.path}:{symbol} {{ @ = count(); }}", p.pid, p.path)
    try:
        p.run()
    finally:
        bpftrace_end(other)
    assert p.status != 0


def test_c_function_between_cxx_frames(spanhound, program):
    """C code in a module with C++: exceptions pass it, so no return probe either."""
    p = program("throws", "through_c")
    s = spanhound("--pid", p.pid, "-f", "p_c_apply", "-f", "probed::middle")
    p.run()
    r = s.stop()
    assert p.status == 0, p.stderr
    assert len(r.named("p_c_apply")) == sum(c.function == "p_c_apply" for c in p.calls)


def test_libc_function_that_exceptions_pass(spanhound, program, tmp_path):
    """qsort() of libc: C, but a C++ comparator throws through it."""
    p = program("throws", "qsort")
    config = harness.write(tmp_path, "q.yaml", "probes:\n  - function: qsort\n    library: libc.so*\n  - function: probed::*\n")
    s = spanhound("--pid", p.pid, "-c", config)
    p.run()
    r = s.stop()
    assert p.status == 0, f"killed by a return probe: {p.stderr}"
    assert len(r.named("qsort")) == 10


def test_seccomp_filter_that_forbids_unknown_calls(spanhound, program):
    """From 6.11 a return probe makes the target run a system call of its own, which a seccomp filter may answer with
    death: such a process gets no return probes."""
    p = program("calls", "nested", prefix=(harness.program_path("o2", "confine"),))
    s = spanhound("--pid", p.pid, "-f", "p_*")
    p.run()
    r = s.stop()
    assert p.status == 0, f"killed by its seccomp filter: {p.status}"
    truth.assert_same_tree(p.calls, r.spans, r.offset_ns)
