# SPDX-License-Identifier: Apache-2.0
"""Guard rails of the daemon, and that it lives on when what is around it fails."""
import json
import os
import shutil
import signal
import subprocess

import pytest

import harness
from harness import wait_for
from test_control import Daemon, assert_adds_up


def test_the_hottest_probe_is_taken_off(spanhound, hot, tmp_path):
    h = hot(1, 5000)
    d = Daemon(spanhound, tmp_path, h.pid, more="limits: {target_overhead: 0.01%}\n")
    h.go()
    d.s.wait_line("(p_hot) costs ")
    off = d.metrics()
    assert off[("spanhound_probes_off",)] == 1 and off[("spanhound_probes_taken_off_total",)] >= 1
    assert_adds_up(off)
    assert [x["off"] for x in json.loads(d.ctl("probe", "list"))] == [True]
    wait_for(lambda: not harness.uprobes_in(h.pid, h.path), "the probe to be detached")
    h.stop()
    d.s.stop(signal.SIGTERM)


@pytest.mark.soak
@pytest.mark.timeout(180)
def test_it_comes_back(spanhound, hot, tmp_path):
    h = hot(1, 20000)
    d = Daemon(spanhound, tmp_path, h.pid, more="limits: {target_overhead: 0.1%}\n")
    h.go()
    d.s.wait_line("is put back", timeout=90)
    wait_for(lambda: d.s.stderr.count("(p_hot) costs ") == 2, "it to go again")
    assert "for 60 s" in d.s.stderr
    h.stop()
    d.s.stop(signal.SIGTERM)


@pytest.mark.soak
def test_memory_stays_below_the_ceiling(spanhound, hot, tmp_path):
    """More calls than it has memory for, and a receiver that is not there: what the queue does not take is counted."""
    h = hot()
    d = Daemon(spanhound, tmp_path, h.pid, more="limits: {memory: 48m, max_spans: 2000000, queue_spans: 2000000}\nexport: datadog:http://127.0.0.1:1\n")
    h.go()
    wait_for(lambda: d.metrics()[("spanhound_spans_seen_total",)] > 1000000 or h.process.poll() is not None, "a million calls")
    m = d.metrics()
    assert_adds_up(m)
    assert m[("process_resident_memory_bytes",)] < 48 << 20, m
    assert m[("spanhound_spans_dropped_total", "queue_full")] > 0
    h.stop()
    d.s.stop(signal.SIGTERM)


@pytest.fixture
def cgroup():
    """A cgroup of version 1 that may take 64 MB."""
    path = f"/sys/fs/cgroup/memory/spanhound-test-{os.getpid()}"
    try:
        os.mkdir(path)
        with open(f"{path}/memory.limit_in_bytes", "w", encoding="utf-8") as f:
            f.write(str(64 << 20))
    except OSError as e:
        pytest.skip(f"no memory cgroup here: {e}")
    yield path
    wait_for(lambda: not open(f"{path}/cgroup.procs", encoding="utf-8").read(), "the cgroup to be empty")
    os.rmdir(path)


def spans_seen(tmp_path):
    p = subprocess.run([harness.BINARY, "ctl", "--socket", f"{tmp_path}/control.sock", "status"], capture_output=True, text=True)
    assert p.returncode == 0, p.stderr
    return json.loads(p.stdout)["seen"]


@pytest.mark.soak
def test_memory_of_the_cgroup(spanhound, hot, tmp_path, cgroup):
    """Nobody said how much it may take, but the kernel would kill it: it sheds before, and counts what it shed."""
    wrapper = harness.write(tmp_path, "in-cgroup", f'#!/bin/sh\necho $$ > {cgroup}/cgroup.procs\nexec {harness.BINARY} "$@"\n')
    os.chmod(wrapper, 0o755)
    h = hot()
    config = harness.write(tmp_path, "config.yaml", f"targets:\n  - pid: {h.pid}\nprobes:\n  - function: p_hot\n"
                           "limits: {max_spans: 2000000, queue_spans: 2000000}\nexport: datadog:http://127.0.0.1:1\n"
                           f"control: {{socket: {tmp_path}/control.sock}}\n")
    s = spanhound("-c", config, command="serve", export=False, binary=wrapper)
    h.go()
    s.wait_line("for the cgroup lets us take 64 MiB of memory")
    wait_for(lambda: h.process.poll() is not None or spans_seen(tmp_path) > 1000000, "a million calls")
    out = h.stop()
    s.process.send_signal(signal.SIGTERM)
    assert s.wait_exit() in (0, 3), s.stderr
    with open(s.summary_path, encoding="utf-8") as f:
        summary = json.load(f)
    harness.assert_identity(summary)
    assert summary["seen"] == out["calls"]
    with open(f"{cgroup}/memory.oom_control", encoding="utf-8") as f:
        assert "oom_kill 0" in f.read()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB."""
    path = tmp_path / "disk"
    path.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)], capture_output=True).returncode:
        pytest.skip("no mount here")
    yield str(path)
    subprocess.run(["umount", "-l", str(path)], check=False)


def test_full_disk(spanhound, hot, small_disk, tmp_path):
    """What did not go into the file is counted, and the target never knows."""
    h = hot(1, 20000)
    config = harness.write(tmp_path, "config.yaml", f"targets:\n  - pid: {h.pid}\nprobes:\n  - function: p_hot\n"
                           f"control: {{socket: {tmp_path}/control.sock}}\n")
    s = spanhound("-c", config, "--export", f"json:{small_disk}/spans.json", command="serve", export=False)
    h.go()
    s.wait_line("No space left")
    out = h.stop()
    s.process.send_signal(signal.SIGTERM)
    s.wait_exit()
    with open(s.summary_path, encoding="utf-8") as f:
        summary = json.load(f)
    harness.assert_identity(summary)
    assert summary["seen"] == out["calls"] and summary["dropped"]["export_failed"] > 0


def test_no_file_descriptors(spanhound, program, hot, tmp_path):
    """What cannot be opened is said; what is there goes on."""
    h = hot(1, 1000)
    config = harness.write(tmp_path, "config.yaml",
                           f"targets:\n  - {{pid: {h.pid}}}\n  - {{exe: '{tmp_path}/*'}}\nprobes:\n  - function: p_*\n"
                           f"control: {{socket: {tmp_path}/control.sock}}\n")
    s = spanhound("-c", config, "--link", "multi", command="serve")
    h.go()
    used = len(os.listdir(f"/proc/{s.pid}/fd"))
    subprocess.run(["prlimit", f"--pid={s.pid}", f"--nofile={used + 1}:{used + 1}"], check=True)
    others = []
    for i in range(4):
        path = os.path.join(tmp_path, f"other{i}")
        shutil.copy(harness.program_path("o2", "hot"), path)
        others.append(hot(1, 100, path=path).go())
    seen = len(harness.read_spans_so_far(s.spans_path))
    wait_for(lambda: len(harness.read_spans_so_far(s.spans_path)) > seen + 200, "spans all the while")
    for o in others:
        o.stop()
    out = h.stop()
    r = s.stop(signal.SIGTERM, status=None)
    mine = [x for x in r.spans if x["name"] == "p_hot" and x["metrics"].get("process_id") == h.pid]
    assert r.status in (0, 1) and len(mine) == out["calls"]


def test_an_executable_is_replaced(spanhound, hot, tmp_path):
    """An upgrade: the old process goes on being traced, the new one is, too, each by its own file."""
    path = os.path.join(tmp_path, "upgraded")
    shutil.copy(harness.program_path("o2", "hot"), path)
    config = harness.write(tmp_path, "config.yaml", f"targets:\n  - exe: {path}*\nprobes:\n  - function: p_hot\n"
                           f"control: {{socket: {tmp_path}/control.sock}}\n")
    old = hot(1, 1000, path=path)
    s = spanhound("-c", config, command="serve")
    old.go()
    shutil.copy(harness.program_path("o2", "hot"), path + ".new")
    os.rename(path + ".new", path)
    new = hot(1, 1000, path=path).go()

    def seen(pid):
        return sum(x["metrics"].get("process_id") == pid for x in harness.read_spans_so_far(s.spans_path))

    wait_for(lambda: seen(new.pid) > 100, "spans of the new one")
    before = seen(old.pid)
    wait_for(lambda: seen(old.pid) > before, "further spans of the old one")
    new.stop()
    out = old.stop()
    s.stop(signal.SIGTERM)
    assert seen(old.pid) == out["calls"]
