# SPDX-License-Identifier: Apache-2.0
"""Golden streams: each *.capture is the raw event stream of one small run; replayed, it must give exactly the spans of
the *.json beside it. No root, no kernel, no target.

To record them anew after a deliberate change: SPANHOUND_GOLDEN=record (root), then look at the difference."""
import glob
import json
import os
import shutil
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))
import harness  # noqa: E402

PLACE = "/opt/ground-truth"
RECORD = os.environ.get("SPANHOUND_GOLDEN") == "record"
# name: (program, case, arguments, probe list)
STREAMS = {
    "nested": ("calls", "mutual", (), "probes:\n  - function: p_*\n"),
    "exceptions": ("throws", "near", (), "probes:\n  - function: probed::*\n"),
    "unfinished": ("calls", "exit", (), "probes:\n  - function: p_*\n"),
    "fork": ("calls", "fork", (), "probes:\n  - function: p_*\n"),
    "left_out": ("calls", "recursion", (), "probes:\n  - function: p_leaf\n  - function: p_recurse\n"
                 "    args: {n: {at: 1, type: i64}}\n    when: n & 1\n"),
    "values": ("args", "values", (), """probes:
  - function: p_string
    args: {s: {at: 1, type: string, max: 32}, n: {at: 2, type: i32}}
    span: {name: text, resource: "text {n}", tags: {what: "{s}!"}, metrics: {amount: n}}
  - function: p_fails
    error: return < 0
  - function: p_struct
    args: {city: {at: 1, deref: [16], type: string}, id: {at: 1, offset: 0, type: i64}}
  - function: p_bytes
    args: {n: {at: 2, type: i32}, p: {at: 1, type: bytes(n), max: 8}}
"""),
}


def plain(span):
    """Without what is made anew at each replay."""
    span["meta"].pop("runtime-id", None)
    return span


def replay(capture, tmp_path):
    spans, summary = str(tmp_path / "spans.json"), str(tmp_path / "summary.json")
    status, out, err = harness.spanhound_once("replay", capture, "--export", f"json:{spans}", "--summary", f"json:{summary}")
    assert status == 0, err
    with open(summary, encoding="utf-8") as f:
        summary = json.load(f)
    harness.assert_identity(summary)
    return sorted(map(plain, harness.read_spans(spans)), key=lambda s: (s["start"], s["span_id"])), summary


def record(name, tmp_path):
    program, case, args, probes = STREAMS[name]
    capture = os.path.join(HERE, f"{name}.capture")
    # From a place that says nothing of the machine: the stream names the executable.
    os.makedirs(PLACE, exist_ok=True)
    path = shutil.copy(harness.program_path("o2", program), os.path.join(PLACE, program))
    p = harness.Program(str(tmp_path), program, case, *args, path=path)
    try:
        s = harness.Spanhound(str(tmp_path), "--pid", p.pid, "-c", harness.write(tmp_path, "probes.yaml", probes), "--export",
                              f"capture:{capture}")
        p.run()
        s.stop()
    finally:
        p.kill()
        shutil.rmtree(PLACE)
    spans, summary = replay(capture, tmp_path)
    with open(os.path.join(HERE, f"{name}.json"), "w", encoding="utf-8") as f:
        dropped = json.dumps({k: v for k, v in summary["dropped"].items() if v}, sort_keys=True)
        lines = ",\n".join(json.dumps(s, sort_keys=True, ensure_ascii=False) for s in spans)
        f.write(f'{{"seen": {summary["seen"]}, "dropped": {dropped}, "spans": [\n{lines}\n]}}\n')


@pytest.mark.parametrize("name", STREAMS)
def test_golden(name, tmp_path):
    if RECORD:
        record(name, tmp_path)
    with open(os.path.join(HERE, f"{name}.json"), encoding="utf-8") as f:
        want = json.load(f)
    spans, summary = replay(os.path.join(HERE, f"{name}.capture"), tmp_path)
    assert len(spans) == len(want["spans"])
    for got, expected in zip(spans, want["spans"]):
        assert got == expected
    assert summary["seen"] == want["seen"]
    assert {k: v for k, v in summary["dropped"].items() if v} == want["dropped"]


def test_every_stream_is_known():
    assert {os.path.basename(x)[:-len(".capture")] for x in glob.glob(os.path.join(HERE, "*.capture"))} == set(STREAMS)


@pytest.mark.parametrize("name", STREAMS)
def test_cut_anywhere(name, tmp_path):
    """A stream cut off at any byte is read as far as it is whole, and said to be cut."""
    with open(os.path.join(HERE, f"{name}.capture"), "rb") as f:
        data = f.read()
    for cut in sorted({len(data) * i // 13 for i in range(1, 13)} | {len(data) - 1, 1, 7}):
        path = tmp_path / "cut.capture"
        path.write_bytes(data[:cut])
        p = subprocess.run([harness.BINARY, "replay", str(path), "--export", "json:/dev/null"], capture_output=True, text=True,
                           timeout=60)
        assert p.returncode >= 0, f"cut at {cut}: killed by signal {-p.returncode}"
        assert p.returncode == 0 or p.stderr.strip(), f"cut at {cut}: fails without a word"
