# SPDX-License-Identifier: Apache-2.0
"""Executables that come and go: what was held for one that nobody runs any more is given back."""
import json
import os
import shutil
import signal
import subprocess

import pytest

import harness
from harness import wait_for

AT_A_TIME = 20 if harness.SOAK else 8


class Daemon:
    """Traces whatever is executed from a folder."""

    def __init__(self, spanhound, tmp, *args):
        self.folder = os.path.join(str(tmp), "out")
        self.control = os.path.join(str(tmp), "control.sock")
        os.makedirs(self.folder)
        config = harness.write(tmp, "config.yaml", f"targets:\n  - exe: {self.folder}/*\nprobes:\n  - function: p_hot\n"
                               f"control: {{socket: {self.control}}}\n")
        self.s = spanhound("-c", config, *args, command="serve")

    def status(self):
        p = subprocess.run([harness.BINARY, "ctl", "--socket", self.control, "status"], capture_output=True, text=True,
                           timeout=harness.PATIENCE_S, check=True)
        return json.loads(p.stdout)

    def held(self):
        """Links and descriptors."""
        links = [x for x in harness.kernel_objects_of(self.s.pid) if x[0] == "link"]
        return len(links), len(os.listdir(f"/proc/{self.s.pid}/fd"))

    def run_all(self, hot, paths):
        """Each is started, traced to its end, and gone. Returns how many calls they made."""
        calls = 0
        for at in range(0, len(paths), AT_A_TIME):
            targets = [hot(1, 1000, path=path) for path in paths[at:at + AT_A_TIME]]
            wait_for(lambda: self.status()["processes"] == len(targets), f"{len(targets)} of them to be traced")
            for t in targets:
                t.go()
            calls += sum(t.stop()["calls"] for t in targets)
        return calls


def build_outputs(folder, cnt, name):
    """Distinct executables: files of their own, with other bytes in them."""
    paths = [os.path.join(folder, f"{name}-{i}") for i in range(cnt)]
    for path in paths:
        shutil.copy(harness.program_path("o2", "hot"), path)
        with open(path, "ab") as f:
            f.write(path.encode())
    return paths


def check_spans(r, calls):
    assert len(r.spans) == calls and not r.dropped and r.summary["limited"] == 0, r.summary
    # What a span says of its function is of the file it ran, whoever had that function's number before.
    for span in r.spans:
        assert os.path.basename(span["meta"]["code.filepath"]) == span["service"], span


def test_deleted(spanhound, hot, tmp_path):
    """More functions than there may be at a time, one after the other: each is seen, and when it is gone, all of it is."""
    d = Daemon(spanhound, tmp_path, "--max-functions", AT_A_TIME)
    before, calls = None, 0
    for turn in range(2):
        paths = build_outputs(d.folder, AT_A_TIME, f"round{turn}")
        calls += d.run_all(hot, paths)
        for path in paths:
            os.unlink(path)
        wait_for(lambda: d.status()["known_functions"] == 0, "all of them to be let go of")
        before = before or d.held()  # the C library stays
        wait_for(lambda: d.held() <= before, "all that was held to be given back")
    r = d.s.stop()
    check_spans(r, calls)
    assert r.summary["past"]["functions"] == 2 * AT_A_TIME and r.summary["past"]["calls"] == calls


def test_lost_exits(spanhound, hot, tmp_path):
    """Nobody tells of an exit when the rings are full: it is found out by looking, and what was held is given back."""
    d = Daemon(spanhound, tmp_path, "--ring-size", "64k")
    paths = build_outputs(d.folder, 4, "short")
    busy, *quiet = [hot(1, 0, path=path) for path in paths]
    wait_for(lambda: d.status()["processes"] == len(paths), "all of them to be traced")
    cpu = min(os.sched_getaffinity(0))
    for h in (busy, *quiet):
        os.sched_setaffinity(h.pid, {cpu})
    os.kill(d.s.pid, signal.SIGSTOP)
    busy.go()
    wait_for(lambda: harness.cpu_ticks(busy.pid) > 50, "the ring to be full")
    calls = busy.stop()["calls"]
    for h in quiet:
        h.kill()
    os.kill(d.s.pid, signal.SIGCONT)
    for path in paths:
        os.unlink(path)
    wait_for(lambda: d.status()["processes"] == 0, "their ends to be known")
    wait_for(lambda: d.status()["known_functions"] == 0, "all of them to be let go of")
    r = d.s.stop()
    assert r.summary["process_events_lost"] >= len(paths) - 1  # one may find room where a call does not
    assert set(r.dropped) == {"ring_full"} and len(r.spans) + r.dropped["ring_full"] == calls == r.summary["seen"]
    assert "looking at all of them again" in r.stderr


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("deleted", (True, False))
def test_rounds(spanhound, hot, tmp_path, deleted):
    """200 executables in each round: from the second one on nothing grows."""
    d = Daemon(spanhound, tmp_path)
    figures, calls = [], 0
    for turn in range(4):
        paths = build_outputs(d.folder, 200, f"round{turn}")
        calls += d.run_all(hot, paths)
        for path in paths if deleted else ():
            os.unlink(path)
        wait_for(lambda: d.status()["known_functions"] <= (0 if deleted else 128), "functions to be let go of")
        figures.append((*d.held(), harness.resident_kib(d.s.pid)))
    print(f"\nlinks, descriptors, KiB after each round of 200 executables: {figures}")
    first, last = figures[1], figures[-1]
    assert last[0] <= first[0] and last[1] <= first[1] + 2, figures
    assert last[2] <= first[2] * 1.03, figures
    check_spans(d.s.stop(), calls)
