# SPDX-License-Identifier: Apache-2.0
"""Targets that lie, change and hide (programs/hostile.c), beside one that does not: spanhound looks at them, neither waits
nor grows nor ends, and what the honest one does is seen. Files that lead out of a target's root, FIFOs and devices in
their place: tests/unit/test_regular.c. Bytes that lie: tests/fuzz."""
import json
import os
import resource
import subprocess

import harness
import pytest
from harness import spanhound_once, target_environment, wait_for

RESIDENT_KB = 120 << 10
DAMAGE = ("\033", "\a", "\b", "\0")


@pytest.fixture
def hostile(tmp_path):
    """hostile("maps", 1000): its process, when its trap is set."""
    running = []

    def start(*args, env=None, name=None):
        path = harness.program_path("o2", "hostile")
        p = subprocess.Popen([name or path, *map(str, args), str(tmp_path)], executable=path, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, env=target_environment(env))
        running.append(p)
        assert p.stdout.readline().startswith(b"pid ")
        return p

    yield start
    for p in running:
        p.kill()
        p.wait()
        p.stdin.close()
        p.stdout.close()


def peak_kb(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM:"))


def honest_is_seen(spanhound, h, *args):
    """Attached to the hostile ones that args choose, and to the honest one. The result."""
    s = spanhound("--pid", h.pid, "-f", "p_hot", "--no-http", *args)
    wait_for(lambda: any(x["resource"] == "p_hot" for x in harness.read_spans_so_far(s.spans_path)), "spans of the honest one")
    assert peak_kb(s.pid) < RESIDENT_KB, f"{peak_kb(s.pid)} KB"
    got = s.stop()
    assert not any(c in got.stderr for c in DAMAGE), repr(got.stderr)
    return got


@pytest.mark.parametrize("case, lines", (("maps", 20000), ("sparse", None), ("changing", None)))
def test_files(spanhound, hot, hostile, case, lines):
    """All that it maps is opened, and with `functions` looked through."""
    p = hostile(case, *([lines] if lines else []))
    h = hot(rate=200).go()
    got = honest_is_seen(spanhound, h, "--pid", p.pid, "-f", "p_step")
    assert got.named("p_step"), got.stderr
    status, out, _ = spanhound_once("functions", "--pid", p.pid, "lib*:p_*")
    assert status in (0, 2), out
    assert p.poll() is None
    h.stop()


def test_many_files(hot, hostile, tmp_path):
    """More than there are descriptors for: some are not probed, that is said, and the rest works."""
    p = hostile("files", 30)
    h = hot(rate=200).go()
    limit = (300, 300)
    s = subprocess.run([harness.BINARY, "attach", "--pid", str(p.pid), "--pid", str(h.pid), "--no-http", "-f", "p_step", "-f", "p_hot",
                        "-f", "lib*:p_step", "--count", "20", "--duration", f"{harness.PATIENCE_S}s", "--export", f"json:{tmp_path}/spans",
                        "--summary", f"json:{tmp_path}/summary"],
                       preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limit), capture_output=True, text=True,
                       env=target_environment(), timeout=harness.PATIENCE_S * 2)
    assert s.returncode == 0, s.stderr
    assert "mapped files were not looked at or not probed" in s.stderr, s.stderr
    summary = json.loads((tmp_path / "summary").read_text())
    harness.assert_identity(summary)
    assert summary["exported"] >= 20
    h.stop()


def test_soft_limit_is_raised(hostile, tmp_path):
    """What the soft limit forbids and the hard one does not is no reason to leave anything out."""
    p = hostile("files", 30)
    s = subprocess.run([harness.BINARY, "attach", "--pid", str(p.pid), "--no-http", "-f", "lib*:p_step", "--duration", "1ms",
                        "--export", f"json:{tmp_path}/spans"], capture_output=True, text=True, env=target_environment(),
                       preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (250, 4096)), timeout=harness.PATIENCE_S)
    assert "not looked at" not in s.stderr and "ready: 1 process, 30 functions" in s.stderr, s.stderr


def test_names_and_children_that_vanish(spanhound, hot, hostile):
    p = hostile("names")
    h = hot(rate=200).go()
    got = honest_is_seen(spanhound, h, "--pid", p.pid, "-f", "p_step", "-v")
    assert got.summary["processes"] > 2, "no child was followed"
    for _ in range(2):
        for words in (("ps",), ("ps", "--json"), ("ps", "--pid", p.pid)):
            status, out, err = spanhound_once(*words)
            assert status == 0, err
            assert not any(c in out + err for c in DAMAGE), repr(out)
            if "--json" in words:
                json.loads(out)
    h.stop()


def test_arguments_and_environment(spanhound, hot, hostile):
    """A megabyte of environment, all of it about us; a name that is none; settings that would break a terminal."""
    long = {f"DD_TAGS{i}": "x:\033[2J," * 10000 for i in range(12)}
    env = {"DD_SERVICE": "a\033]0;title\a\nb", "DD_ENV": "\033[31m" * 1000, "DD_TAGS": ("k:v\033[0m," * 12000),
           "DD_TRACE_SAMPLING_RULES": "[" * 100000, "DD_TRACE_HEADER_TAGS": ":" * 100000, "DD_VERSION": os.fsdecode(b"\xff\xfe\xc3"), **long}
    p = hostile("plain", env=env, name=b"\033[2J\xff\xfe spanhound: error: none\n\033[A")
    h = hot(rate=200).go()
    got = honest_is_seen(spanhound, h, "--pid", p.pid, "-f", "p_step", "-v")
    spans = got.named("p_step")
    assert spans, got.stderr
    for s in spans:
        assert not any(c in s["service"] for c in DAMAGE), s["service"]
    status, out, err = spanhound_once("attach", "--pid", p.pid, "--no-http", "-f", "p_step", "--count", 3, "--export", "console")
    assert status == 0, err
    assert not any(c in out + err for c in DAMAGE), repr(out + err)
    h.stop()
