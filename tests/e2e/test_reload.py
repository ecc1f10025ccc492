# SPDX-License-Identifier: Apache-2.0
"""A daemon whose configuration changes while the target works: the difference alone is touched."""
import collections
import json
import os
import shutil
import signal
import subprocess
import time

import pytest

import harness
from harness import wait_for

ONE = "  - function: p_hot\n"
TWO = ONE + "  - function: p_hot_inner\n"


def config_of(tmp, pid, probes, more=""):
    path = os.path.join(str(tmp), "config.yaml")
    harness.write(tmp, "config.new", f"targets:\n  - pid: {pid}\n    service: hot\nprobes:\n{probes}{more}")
    os.rename(os.path.join(str(tmp), "config.new"), path)
    return path


class Reloads:
    """Reloads one after another, each waited for."""

    def __init__(self, s):
        self.s = s
        self.cnt = 0

    def wait(self, text="reloaded "):
        self.cnt += 1
        wait_for(lambda: self.s.stderr.count(text) >= self.cnt, f"reload {self.cnt}")


def counts(spans):
    return collections.Counter(s["resource"].split("(")[0] for s in spans)


@pytest.mark.parametrize("link,end", [("session", "return"), ("multi", "sites"), ("perf", "return")])
def test_an_unchanged_probe_loses_nothing(spanhound, hot, info, tmp_path, link, end):
    why = harness.link_missing(info, link)
    if why:
        pytest.skip(why)
    h = hot(1, 3000)
    config = config_of(tmp_path, h.pid, ONE)
    s = spanhound("-c", config, "--link", link, "--end", end, command="serve")
    h.go()
    reloads = Reloads(s)
    for i in range(10):
        config_of(tmp_path, h.pid, ONE if i % 2 else TWO)
        s.process.send_signal(signal.SIGHUP)
        reloads.wait()
    out = h.stop()
    r = s.stop(signal.SIGTERM)
    assert not r.dropped, r.dropped
    found = counts(r.spans)
    assert found["p_hot"] == out["calls"]
    assert 0 < found["p_hot_inner"] < out["calls"]
    assert r.summary["seen"] == found["p_hot"] + found["p_hot_inner"]


def test_a_probe_that_comes_back_after_it_was_detached(spanhound, hot, tmp_path):
    """Each of its calls is seen once while it is there, and none while it is not."""
    h = hot(1, 2000)
    config = config_of(tmp_path, h.pid, TWO)
    s = spanhound("-c", config, command="serve")
    h.go()
    reloads = Reloads(s)
    before = harness.uprobes_in(h.pid, h.path)
    config_of(tmp_path, h.pid, ONE)
    reloads.wait()  # noticed without a signal
    wait_for(lambda: harness.uprobes_in(h.pid, h.path) < before, "the probe to be detached")
    config_of(tmp_path, h.pid, TWO)
    reloads.wait()
    wait_for(lambda: harness.uprobes_in(h.pid, h.path) == before, "the probe to be back")
    seen = len(harness.read_spans_so_far(s.spans_path))
    wait_for(lambda: len(harness.read_spans_so_far(s.spans_path)) > seen + 100, "spans")
    out = h.stop()
    r = s.stop(signal.SIGTERM)
    found = counts(r.spans)
    assert found["p_hot"] == out["calls"] and found["p_hot_inner"] < out["calls"]
    starts = {(x["trace_id"], x["parent_id"]) for x in r.spans if x["resource"].startswith("p_hot_inner")}
    assert len(starts) == found["p_hot_inner"], "p_hot calls it once"


def test_a_bad_file_is_refused_whole(spanhound, hot, tmp_path):
    h = hot(1, 2000)
    config = config_of(tmp_path, h.pid, ONE)
    s = spanhound("-c", config, command="serve")
    h.go()
    config_of(tmp_path, h.pid, TWO + "  - function: p_other\n    wen: a < 3\n")
    s.wait_line("is refused, and all stays as it was")
    s.wait_line(f"{config}:8:5: error: unknown key 'wen' in a probe; did you mean 'when'?")
    os.chmod(config, 0o666)
    s.wait_line("can be written by everybody")
    os.remove(config)
    s.wait_line("No such file or directory")
    seen = len(harness.read_spans_so_far(s.spans_path))
    wait_for(lambda: len(harness.read_spans_so_far(s.spans_path)) > seen, "further spans")
    out = h.stop()
    r = s.stop(signal.SIGTERM)
    assert len(r.spans) == counts(r.spans)["p_hot"] == out["calls"]


def test_targets_come_and_go(spanhound, hot, tmp_path):
    """Two programs, one after the other chosen; the second's name of service changes while it works."""
    copies = []
    for name in ("first", "second"):
        copies.append(os.path.join(tmp_path, name))
        shutil.copy(harness.program_path("o2", "hot"), copies[-1])
    a, b = (hot(1, 1000, path=copy) for copy in copies)
    probes = "probes:\n  - function: p_hot\n"

    def config(*lines):
        return harness.write(tmp_path, "config.yaml", "targets:\n" + "".join(f"  - {x}\n" for x in lines) + probes)

    def of(service):
        return [x for x in harness.read_spans_so_far(s.spans_path) if x["service"] == service]

    path = config(f"{{exe: {copies[0]}, service: one}}")
    s = spanhound("-c", path, command="serve")
    a.go()
    b.go()
    wait_for(lambda: of("one"), "spans of the first")
    reloads = Reloads(s)
    config(f"{{exe: {copies[0]}, service: one}}", f"{{exe: {copies[1]}, service: two}}")
    reloads.wait()
    wait_for(lambda: of("two"), "spans of the second")
    config(f"{{exe: {copies[0]}, service: one}}", f"{{exe: {copies[1]}, service: zwei}}")
    reloads.wait()
    wait_for(lambda: of("zwei"), "the new name")
    config(f"{{exe: {copies[1]}, service: zwei}}")
    reloads.wait()
    wait_for(lambda: not harness.uprobes_in(a.pid, copies[0]), "the first to be left alone")
    first = a.stop()
    second = b.stop()
    r = s.stop(signal.SIGTERM)
    services = collections.Counter(x["service"] for x in r.spans)
    assert set(services) == {"one", "two", "zwei"}
    assert services["one"] <= first["calls"] and services["two"] + services["zwei"] <= second["calls"]


def test_what_needs_a_restart_is_said(spanhound, hot, tmp_path):
    h = hot(1, 1000)
    config = config_of(tmp_path, h.pid, ONE)
    s = spanhound("-c", config, command="serve")
    config_of(tmp_path, h.pid, ONE, "limits: {max_spans: 1000}\n")
    s.wait_line("holds from the next start on")
    h.go()
    out = h.stop()
    r = s.stop(signal.SIGTERM)
    assert len(r.spans) == counts(r.spans)["p_hot"] == out["calls"]


@pytest.mark.parametrize("rounds", [30, pytest.param(400, marks=[pytest.mark.soak, pytest.mark.timeout(400)])])
def test_a_file_that_is_never_the_same(spanhound, hot, tmp_path, rounds):
    """50 targets, each time with another tag: more than there is room for, were those that nobody belongs to not let go."""
    h = hot(1, 1000)
    others = "".join(f"  - {{name: nobody-{i}, service: nobody, routes: [/x/*]}}\n" for i in range(49))

    def config(number):
        harness.write(tmp_path, "config.new", f"targets:\n{others}  - pid: {h.pid}\nprobes:\n{ONE}tags: {{round: '{number}'}}\n"
                                              f"control: {{socket: {tmp_path}/control.sock}}\n")
        path = os.path.join(str(tmp_path), "config.yaml")
        os.rename(os.path.join(str(tmp_path), "config.new"), path)
        return path

    def ctl(word):
        return subprocess.run([harness.BINARY, "ctl", "--socket", f"{tmp_path}/control.sock", word], capture_output=True, text=True,
                              timeout=harness.PATIENCE_S, check=True).stdout

    s = spanhound("-c", config(0), command="serve")
    h.go()
    resident = []
    for i in range(1, rounds):
        config(i)
        ctl("reload")
        resident.append(harness.resident_kib(s.pid))
        time.sleep(0.1 if rounds > 100 else 0)  # what spans are on their way with is held until they are out
    state = json.loads(ctl("status"))
    wait_for(lambda: f'"round":"{rounds - 1}"' in open(s.spans_path).read(), "the last of them to be in force")
    calls = h.stop()["calls"]
    r = s.stop(signal.SIGTERM)
    assert state["config"]["refused"] == 0 and state["config"]["reloads"] >= rounds - 1, state["config"]
    assert len(r.spans) == calls and not r.dropped
    if rounds > 100:
        print(f"\nresident KiB: {resident[::50]}")
        assert min(resident[-50:]) < max(resident[rounds // 2 - 50:rounds // 2]) + 512
