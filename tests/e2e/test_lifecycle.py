# SPDX-License-Identifier: Apache-2.0
"""Nothing stays behind and nobody is harmed: kill -9, two tracers at one place, targets under a debugger, attach and
detach under load."""
import json
import os
import signal
import subprocess
import time

import pytest

import harness
import truth
from harness import are_gone, kernel_objects_of, uprobes_in, wait_for

# `make soak` does the full counts: 50 kills, 200 times attach and detach.
SOAK = os.environ.get("SPANHOUND_SOAK") == "1"



def test_kill_9_leaves_nothing(spanhound, program):
    p = program("calls", "nested")
    s = spanhound("--pid", p.pid, "-f", "p_*")
    objects = kernel_objects_of(s.pid)
    assert {kind for kind, _ in objects} == {"prog", "link", "map"}
    assert uprobes_in(p.pid, p.path), "breakpoints are in the target's code while it is traced"
    s.kill()
    wait_for(lambda: are_gone(objects), "programs, maps and links to be gone")
    p.go()
    assert p.finish().status == 0


def test_code_is_restored(spanhound, hot):
    """After a detach the target's memory is the file's again."""
    h = hot(1, 2000).go()
    path = harness.program_path("o2", "hot")
    s = spanhound("--pid", h.pid, "-f", "p_hot*")
    assert uprobes_in(h.pid, path) > 0
    s.stop()
    wait_for(lambda: uprobes_in(h.pid, path) == 0, "the breakpoints to be gone")
    h.stop()


@pytest.mark.parametrize("link", harness.LINKS)
def test_code_is_restored_after_kill_9(spanhound, info, hot, link):
    why = harness.link_missing(info, link)
    if why:
        pytest.skip(why)
    h = hot(2, 2000).go()
    path = harness.program_path("o2", "hot")
    s = spanhound("--pid", h.pid, "-f", "p_hot*", "--link", link)
    s.kill()
    wait_for(lambda: uprobes_in(h.pid, path) == 0, "the breakpoints to be gone")
    h.stop()


@pytest.mark.alone
@pytest.mark.timeout(400)
def test_killed_under_load_many_times(tmp_path, hot):
    """SIGKILL while the target runs at full speed; its own checks stay right."""
    objects = set()
    targets = [hot(1, 0).go(), hot(2, 2000, variant="cet").go()]
    for i in range(50 if SOAK else 6):
        link = harness.LINKS[i % 3]
        s = harness.Spanhound(str(tmp_path), "--pid", ",".join(str(t.pid) for t in targets), "-f", "p_hot*", "--link", link,
                              "--end", harness.ENDS[i % 2])
        if i % 10 == 0:
            objects |= kernel_objects_of(s.pid)
        # At different moments of its life.
        time.sleep(0.002 * (i % 7))
        s.kill()
    for t in targets:
        assert t.stop()["calls"] > 1000
    wait_for(lambda: are_gone(objects), "programs, maps and links to be gone")


@pytest.mark.alone
@pytest.mark.timeout(900)
def test_attach_detach_under_load(tmp_path, hot):
    """On every path in turn; each round sees calls, and the target's own checks stay right."""
    targets = [hot(1, 0).go(), hot(2, 2000, variant="cet").go()]
    paths = [(a, b) for a in harness.LINKS for b in harness.ENDS]
    for i in range(200 if SOAK else 6):
        link, end = paths[i % len(paths)]
        s = harness.Spanhound(str(tmp_path), "--pid", ",".join(str(t.pid) for t in targets), "-f", "p_hot*", "--link", link,
                              "--end", end, "--count", "1")
        assert s.result(status=None).spans
        os.unlink(s.spans_path)
    for t in targets:
        wait_for(lambda t=t: uprobes_in(t.pid, t.path) == 0, "the breakpoints to be gone")
        assert t.stop()["calls"] > 1000


def first_and_last(path):
    """When the first of its spans began and the last one ended; hundreds of thousands are not read for that."""
    with open(path, "rb") as f:
        head = f.readlines(100000)
        f.seek(max(0, os.path.getsize(path) - 100000))
        tail = f.readlines()[1:]
    return min(json.loads(x)["start"] for x in head), max(x["start"] + x["duration"] for x in map(json.loads, tail))


def restart(spanhound, hot, tmp_path, times, rate):
    """A daemon is ended and started again, as a service manager does it, while its target makes so many calls a second.
    Returns for how many milliseconds nothing was seen, each time."""
    h = hot(1, rate).go()
    config = harness.write(tmp_path, "config.yaml", f"targets:\n  - pid: {h.pid}\nprobes:\n  - function: p_hot\n"
                           f"control: {{socket: {tmp_path}/control.sock}}\n")
    gaps, old, objects, last = [], None, set(), None
    for turn in range(times + 2):
        new = spanhound("-c", config, command="serve") if turn <= times else None
        if old:  # read when the next one runs: what is measured is its absence
            with open(old.summary_path, encoding="utf-8") as f:
                harness.assert_identity(json.load(f))
            wait_for(lambda: are_gone(objects), "programs, maps and links to be gone")
            first, end = first_and_last(old.spans_path)
            if last:
                gaps.append(round((first - last) / 1e6))
            last = end
            os.unlink(old.spans_path)
        if new:
            wait_for(lambda: os.path.exists(new.spans_path) and os.path.getsize(new.spans_path) > 100000, "spans")
            objects = kernel_objects_of(new.pid)
            assert {kind for kind, _ in objects} == {"prog", "link", "map"}
            new.process.send_signal(signal.SIGTERM)
            assert new.wait_exit() == 0, new.stderr
        old = new
    wait_for(lambda: uprobes_in(h.pid, h.path) == 0, "the breakpoints to be gone")
    h.stop()
    return gaps


def test_restart_under_load(spanhound, hot, tmp_path):
    restart(spanhound, hot, tmp_path, 1, 2000)


@pytest.mark.soak
@pytest.mark.alone
def test_gap_of_a_restart(spanhound, hot, tmp_path, record_property):
    """How long it is; and the kernel's lists are as they were."""
    before = harness.kernel_objects()
    gaps = restart(spanhound, hot, tmp_path, 5, 20000)
    wait_for(lambda: harness.kernel_objects() == before, "bpftool to list what it listed before")
    print(f"\nms of capture lost to each restart: {gaps}")
    record_property("gap_ms", gaps)
    assert min(gaps) < 3000 * harness.PATIENCE, gaps  # a second, on a machine with nothing else to do


def test_two_spanhounds(spanhound, program):
    """Both see every call, with ids of their own."""
    p = program("calls", "nested")
    a = spanhound("--pid", p.pid, "-f", "p_*")
    b = spanhound("--pid", p.pid, "-f", "p_*")
    p.run()
    ra, rb = a.stop(), b.stop()
    for r in (ra, rb):
        truth.assert_same_tree(p.calls, r.spans, r.offset_ns)
    assert not {s["span_id"] for s in ra.spans} & {s["span_id"] for s in rb.spans}


def test_second_comes_and_goes(spanhound, hot):
    """The second's end takes nothing from the first."""
    h = hot(1, 2000).go()
    first = spanhound("--pid", h.pid, "-f", "p_hot")
    spanhound("--pid", h.pid, "-f", "p_hot", "--count", "10").result()
    second_end = time.time_ns()
    wait_for(lambda: os.path.exists(first.spans_path) and
             any(json.loads(line)["start"] > second_end for line in open(first.spans_path) if line.endswith("\n")),
             "spans of the first after the second ended")
    first.stop()
    h.stop()


def bpftrace(script, pid, path):
    """Another tracer, with its probes in the code of process `pid`."""
    before = uprobes_in(pid, path)
    p = subprocess.Popen(["bpftrace", "-e", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: p.poll() is not None or uprobes_in(pid, path) > before, "bpftrace's probes")
        assert p.poll() is None, p.stderr.read()
    except BaseException:
        p.kill()
        p.wait()
        raise
    return p


def bpftrace_end(p):
    p.send_signal(signal.SIGINT)
    try:
        out, _ = p.communicate(timeout=harness.PATIENCE_S)  # the kernel removes perf events one after the other
    except subprocess.TimeoutExpired:
        p.kill()
        out, _ = p.communicate()
    return out


@pytest.mark.alone  # other tests' perf events keep the kernel from letting bpftrace's go
@pytest.mark.parametrize("order", ["bpftrace-first", "spanhound-first"])
def test_another_tracer_at_the_same_place(spanhound, program, order):
    p = program("calls", "nested")
    script = (f"uprobe:{p.path}:p_leaf {{ @entered = count(); }} uretprobe:{p.path}:p_leaf {{ @left = count(); }} "
              f"uprobe:{p.path}:case_nested {{ @case = count(); }}")
    if order == "bpftrace-first":
        other = bpftrace(script, p.pid, p.path)
        s = spanhound("--pid", p.pid, "-f", "p_*")
    else:
        s = spanhound("--pid", p.pid, "-f", "p_*")
        other = bpftrace(script, p.pid, p.path)
    try:
        p.run()
    finally:
        said = bpftrace_end(other)
    r = s.stop()
    assert p.status == 0
    truth.assert_same_tree(p.calls, r.spans, r.offset_ns)
    leaves = sum(c.function == "p_leaf" for c in p.calls)
    assert f"@entered: {leaves}" in said and f"@left: {leaves}" in said, said


def test_target_under_gdb(spanhound, program):
    """A process that a debugger holds: traced while gdb is attached, with gdb's own breakpoint in a probed function."""
    p = program("calls", "nested")
    commands = ["set pagination off", "set confirm off", "handle SIGTRAP nostop noprint pass", "break p_outer",
                "ignore 1 1000000", "echo gdb is up\\n", "continue", "info breakpoints"]
    gdb = subprocess.Popen(["gdb", "-q", "-nx", "-p", str(p.pid), *[x for c in commands for x in ("-ex", c)]],
                           stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        heard = ""
        for line in gdb.stdout:
            heard += line
            if "gdb is up" in line:
                break
        else:
            pytest.skip(f"gdb cannot attach here: {heard[-300:]}")
        s = spanhound("--pid", p.pid, "-f", "p_*")
        wait_for(lambda: open(f"/proc/{p.pid}/stat").read().rsplit(")", 1)[1].split()[0] in "SR", "the target to run under gdb")
        p.run()
        r = s.stop()
        assert p.status == 0
        truth.assert_same_tree(p.calls, r.spans, r.offset_ns)
        assert "TracerPid" in open("/proc/self/status").read()
    finally:
        gdb.stdin.close()
        gdb.kill()
        gdb.wait()


@pytest.mark.alone
def test_attached_in_mid_flight(spanhound, hot):
    """Calls that were open when the probes came are not spans; everything after is."""
    h = hot(4, 0).go()
    s = spanhound("--pid", h.pid, "-f", "p_hot*", "--count", "20000")
    r = s.result()
    ids = {x["span_id"] for x in r.spans}
    orphans = [x for x in r.spans if x["parent_id"] and x["parent_id"] not in ids]
    if not r.dropped:
        assert not orphans
    later = min(x["start"] for x in r.spans) + 10**8
    assert r.dropped or all(x["parent_id"] for x in r.spans if x["resource"] == "p_hot_inner" and x["start"] > later)
    h.stop()


@pytest.mark.parametrize("link,end", [(a, b) for a in harness.LINKS for b in harness.ENDS], ids=lambda x: x)
def test_detach_under_calls(spanhound, hot, info, link, end):
    """Probes go one after the other, while the program goes on calling: no call is seen to begin that is not seen to end."""
    why = harness.link_missing(info, link)
    if why:
        pytest.skip(why)
    h = hot(16, 1600).go()
    s = spanhound("--pid", h.pid, "-f", "p_hot*", "--link", link, "--end", end)
    wait_for(lambda: os.path.exists(s.spans_path) and os.path.getsize(s.spans_path) > 100000, "some calls")
    r = s.stop()
    assert h.stop()["calls"] > 100
    # Each takes microseconds, a few hundred times a second: hardly one is open at that moment.
    open_calls = [x for x in r.spans if truth.is_unfinished(x)]
    assert len(open_calls) <= 2, f"{len(open_calls)} of {len(r.spans)} calls never ended"
    ids = {x["span_id"]: x for x in r.spans}
    for x in r.spans:
        if x["resource"] == "p_hot_inner" and x["parent_id"]:
            assert ids[x["parent_id"]]["resource"] == "p_hot"


def test_detach_with_open_calls(spanhound, program):
    """A call that is open when spanhound goes is accounted for, and its process lives on."""
    p = program("args", "count", "200", "100")
    s = spanhound("--pid", p.pid, "-f", "p_six", "-f", "case_count", "-f", "main")
    p.go()
    wait_for(lambda: os.path.exists(p.log) and sum(1 for _ in open(p.log)) > 20, "some calls")
    r = s.stop()
    assert r.named("p_six")
    p.finish()
    assert p.status == 0


def test_sigusr1_prints_a_summary(spanhound, program):
    p = program("calls", "nested")
    s = spanhound("--pid", p.pid, "-f", "p_*")
    p.run()
    s.process.send_signal(signal.SIGUSR1)
    s.wait_line("p_middle")
    assert s.process.poll() is None
    r = s.stop()
    assert len(r.spans) == len(p.calls)


def test_summary_numbers(spanhound, program):
    p = program("calls", "nested")
    s = spanhound("--pid", p.pid, "-f", "p_*")
    p.run()
    r = s.stop()
    by_name = {x["function"]: x for x in r.summary["probes"]}
    for name in ("p_leaf", "p_pair", "p_middle", "p_outer"):
        mine = sorted(x["duration"] for x in r.spans if x["resource"] == name)
        row = by_name[name]
        assert row["calls"] == row["spans"] == len(mine)
        assert row["errors"] == 0
        assert row["max_ns"] == mine[-1]
        # A sketch may answer: within a few percent, between the neighbours.
        assert mine[0] <= row["p50_ns"] <= row["p95_ns"] <= row["max_ns"]
        assert row["p50_ns"] == pytest.approx(mine[(len(mine) - 1) // 2], rel=0.25)
    assert r.summary["seen"] == len(p.calls)
    for word in ("p_leaf", "seen", "exported"):
        assert word in r.stderr + r.stdout
