# SPDX-License-Identifier: Apache-2.0
"""console, json, capture and replay."""
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios
import threading

import pytest

import harness
import truth
from harness import spanhound_once, write

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def on_a_terminal(command, env, columns, act):
    """Runs it with a terminal as stdin and stdout; what it wrote."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    p = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=subprocess.PIPE, env=env, text=True)
    os.close(slave)
    out = bytearray()

    def read():
        try:
            while chunk := os.read(master, 65536):
                out.extend(chunk)
        except OSError:
            pass

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    for line in p.stderr:
        if "ready:" in line:
            break
    act()
    p.send_signal(2)
    p.stderr.read()
    p.wait(harness.PATIENCE_S)
    reader.join(10)
    os.close(master)
    return out.decode(errors="replace")


def test_json_to_stdout(spanhound, program):
    p = program("calls", "nested")
    s = spanhound("--pid", p.pid, "-f", "p_*", "--export", "json:-", export=False)
    p.run()
    r = s.stop()
    spans = [json.loads(line) for line in s.stdout.splitlines() if line.startswith("{")]
    assert len(spans) == len(p.calls) == r.summary["exported"]
    truth.assert_same_tree(p.calls, spans, r.offset_ns)


def test_json_fields(spanhound, program):
    p = program("calls", "nested")
    s = spanhound("--pid", p.pid, "-f", "p_*")
    p.run()
    for x in s.stop().spans:
        assert set(x) >= {"service", "name", "resource", "trace_id", "span_id", "parent_id", "start", "duration", "error",
                          "meta", "metrics", "type", "trace_id_128"}


def test_json_cannot_be_written(program):
    p = program("calls", "nested")
    status, _, err = spanhound_once("attach", "--pid", p.pid, "-f", "p_*", "--export", "json:/no/such/dir/spans.json")
    assert status == 2 and "/no/such/dir/spans.json" in err


def test_disk_full(spanhound, program):
    """/dev/full takes nothing: counted, said, not a crash."""
    p = program("calls", "nested")
    s = spanhound("--pid", p.pid, "-f", "p_*", "--export", "json:/dev/full", export=False)
    p.run()
    r = s.stop(status=None)
    assert r.status not in (0, -6, -11)
    assert r.dropped == {"export_failed": len(p.calls)}


def test_console_not_a_terminal(spanhound, program):
    p = program("calls", "nested")
    s = spanhound("--pid", p.pid, "-f", "p_*", "--export", "console", export=False)
    p.run()
    s.stop()
    assert "\x1b" not in s.stdout
    lines = [line for line in s.stdout.splitlines() if "p_" in line]
    shown = [line for line in lines if re.search(r"p_(outer|middle|pair|leaf)", line)]
    assert len(shown) >= len(p.calls)
    # A tree: children are further to the right than their parents.
    at = {name: min(line.index(name) for line in shown if name in line) for name in ("p_outer", "p_middle", "p_pair")}
    assert at["p_outer"] < at["p_middle"] or at["p_outer"] < max(line.index("p_middle") for line in shown if "p_middle" in line)
    assert any(re.search(r"\d+(\.\d+)?\s?(ns|us|µs|μs|ms|s)\b", line) for line in shown), "durations"


@pytest.mark.parametrize("columns", [60, 100, 200])
def test_console_terminal(program, columns):
    p = program("calls", "nested")
    out = on_a_terminal([harness.BINARY, "attach", "--pid", str(p.pid), "-f", "p_*", "--export", "console"],
                        dict(harness.target_environment(), TERM="xterm-256color"), columns, p.run)
    assert ESCAPE.search(out), "colours on a terminal"
    for line in ESCAPE.sub("", out).splitlines():
        if "p_leaf" in line:
            assert len(line.rstrip()) <= columns, f"wider than the terminal: {line!r}"


def test_console_no_color(program):
    p = program("calls", "nested")
    out = on_a_terminal([harness.BINARY, "attach", "--pid", str(p.pid), "-f", "p_*", "--export", "console"],
                        dict(harness.target_environment(), TERM="xterm-256color", NO_COLOR="1"), 100, p.run)
    assert "p_leaf" in out and not re.search(r"\x1b\[[0-9;]*3[0-9]", out)


def test_console_errors_show(spanhound, program, tmp_path):
    p = program("calls", "errors")
    s = spanhound("--pid", p.pid, "-c", write(tmp_path, "e.yaml", "probes:\n  - function: p_error_int\n    error: return < 0\n"),
                  "--export", "console", export=False)
    p.run()
    s.stop()
    assert re.search(r"p_error_int.*(error|✗|!|-1)", s.stdout), s.stdout


def test_capture_and_replay(spanhound, program, tmp_path):
    """replay of the raw stream gives the same spans, without root and without the target."""
    capture = str(tmp_path / "capture.bin")
    p = program("throws", "threads")
    s = spanhound("--pid", p.pid, "-f", "probed::*", "--export", f"capture:{capture}")
    p.run()
    r = s.stop()
    again = str(tmp_path / "again.json")
    summary = str(tmp_path / "again-summary.json")
    status, out, err = spanhound_once("replay", capture, "--export", f"json:{again}", "--summary", f"json:{summary}")
    assert status == 0, err

    def key(x):
        return x["span_id"]

    def plain(spans):
        # The runtime id is made per run; all else is in the stream.
        return [{k: ({a: b for a, b in v.items() if a != "runtime-id"} if k == "meta" else v) for k, v in x.items()}
                for x in sorted(spans, key=key)]

    assert plain(harness.read_spans(again)) == plain(r.spans)
    with open(summary, encoding="utf-8") as f:
        replayed = json.load(f)
    harness.assert_identity(replayed)
    assert replayed["exported"] == r.summary["exported"]


def test_replay_without_root(spanhound, program, tmp_path):
    capture = str(tmp_path / "capture.bin")
    p = program("calls", "nested")
    s = spanhound("--pid", p.pid, "-f", "p_*", "--export", f"capture:{capture}")
    p.run()
    s.stop()
    os.chmod(capture, 0o644)
    with open(capture, "rb") as f:
        r = subprocess.run(["setpriv", "--reuid", "65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all",
                            harness.BINARY, "replay", "/dev/stdin", "--export", "json:-"], stdin=f, capture_output=True, text=True)
    if r.returncode == 127:
        pytest.skip("the build directory is not readable for others")
    assert r.returncode == 0, r.stderr
    assert len([x for x in r.stdout.splitlines() if x.startswith("{")]) == len(p.calls)


@pytest.mark.parametrize("cut", ["truncated", "garbage", "empty", "other"])
def test_replay_of_a_broken_file(spanhound, program, tmp_path, cut):
    capture = tmp_path / "capture.bin"
    p = program("calls", "nested")
    s = spanhound("--pid", p.pid, "-f", "p_*", "--export", f"capture:{capture}")
    p.run()
    s.stop()
    data = capture.read_bytes()
    if cut == "truncated":
        capture.write_bytes(data[:-3])  # within the last entry (test_golden.py cuts everywhere)
    elif cut == "garbage":
        half = len(data) // 2
        capture.write_bytes(data[:half] + bytes((7 * i) & 255 for i in range(512)) + data[half + 512:])
    elif cut == "empty":
        capture.write_bytes(b"")
    else:
        capture.write_bytes(b"#!/bin/sh\necho not a capture\n" * 100)
    status, out, err = spanhound_once("replay", capture, "--export", "json:-")
    assert status not in (0, -6, -11) or (cut == "garbage" and status == 0), (status, err)
    assert "capture.bin" in err
