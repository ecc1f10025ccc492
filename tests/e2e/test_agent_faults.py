# SPDX-License-Identifier: Apache-2.0
"""An Agent that fails in every way there is, under load: nothing is lost unsaid, memory stays within its bound, the target
keeps its pace. And v0.5, against the real test agent and against an Agent that does not take it."""
import json
import os
import subprocess
import threading

import pytest

import agents
import harness
from harness import wait_for

ROUNDS = 8 if harness.SOAK else 1
BUFFER = 4 << 20  # DD_TRACE_WRITER_BUFFER_SIZE_BYTES


@pytest.fixture
def fault():
    running = []

    def start(*args, **kwargs):
        a = agents.FaultAgent(*args, **kwargs)
        running.append(a)
        return a

    yield start
    for a in running:
        a.stop()


def certificate(directory, name):
    files = os.path.join(directory, f"{name}.pem"), os.path.join(directory, f"{name}.key")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                    "-addext", f"subjectAltName=DNS:{name}", "-out", files[0], "-keyout", files[1]], check=True,
                   capture_output=True)
    return files


@pytest.mark.parametrize("version", ["v0.4", "v0.5"])
def test_every_fault_in_turn(spanhound, hot, fault, version):
    """One fault after the other, many times round, sometimes two in a row; then a well Agent for the rest."""
    turns = ["ok", "slow", 429, "ok", "half", 500, "ok", "reset", "ok", 413, "ok", "hang_half", 503, "ok", "hang", "ok", 400]

    def what(seconds, number):
        return turns[number % len(turns)] if number < ROUNDS * len(turns) else "ok"

    def info(seconds):
        """Another answer every second, each third of them no JSON."""
        turn = int(seconds)
        return b"{\"endpoints\": [" if turn % 3 == 2 else json.dumps({**agents.FaultAgent.INFO, "turn": turn}).encode()

    a = fault(what, info)
    h = hot(1, 3000).go()
    env = {"DD_TRACE_API_VERSION": version, "DD_TRACE_WRITER_BUFFER_SIZE_BYTES": str(BUFFER),
           "DD_TRACE_AGENT_TIMEOUT_SECONDS": "0.7", "DD_TRACE_WRITER_INTERVAL_SECONDS": "0.2"}
    s = spanhound("--pid", h.pid, "-f", "p_hot", "--export", f"datadog:{a.url}", export=False, env=env)
    wait_for(lambda: len(a.accepted) > 100, "spans")
    early, most = harness.resident_kib(s.process.pid), 0

    def over():
        nonlocal most
        most = max(most, harness.resident_kib(s.process.pid))
        return a.number > ROUNDS * len(turns) and a.infos >= 4

    wait_for(over, "the end of the faults", timeout=ROUNDS * harness.PATIENCE_S)
    count = len(a.accepted)
    wait_for(lambda: len(a.accepted) > count + 1000, "spans in the end")
    r = s.stop(status=None)
    calls = h.stop()["calls"]
    assert set(turns) <= set(a.seen), set(turns) - set(a.seen)
    assert a.infos >= 4, "asked again when the state changed"
    harness.assert_identity(r.summary)
    assert set(r.dropped) <= {"export_failed", "agent_backpressure", "detached"}, r.dropped
    # Those that were answered "half" may have been taken as well: no identity of ours can know.
    assert len(set(a.accepted)) == r.summary["exported"] == len(a.accepted)
    assert calls >= r.summary["seen"] > calls / 3, "the target was not held up"
    assert most - early < 2 * BUFFER / 1024 + 16 * 1024, f"grew from {early} to {most} KiB"
    assert a.paths <= {"/v0.4/traces", "/v0.5/traces"} and f"/{version}/traces" in a.paths


def test_info_unreadable_for_a_while(spanhound, hot, fault):
    """What it says later counts: the next state of the Agent is asked for, too."""
    well = threading.Event()
    a = fault(info=lambda seconds: json.dumps(agents.FaultAgent.INFO).encode() if well.is_set() else b"{\"endpoints\": [")
    h = hot(1, 1000).go()
    s = spanhound("--pid", h.pid, "-f", "p_hot", "--export", f"datadog:{a.url}", export=False,
                  env={"DD_TRACE_WRITER_INTERVAL_SECONDS": "0.2"})
    wait_for(lambda: "does not say what it can do" in s.stderr and len(a.accepted) > 100, "spans all the same")
    assert a.infos == 1
    well.set()
    wait_for(lambda: a.infos == 2, "the next question")
    r = s.stop()
    h.stop()
    harness.assert_identity(r.summary)
    assert a.infos == 2
    assert len(a.accepted) == r.summary["exported"]


def test_backpressure(spanhound, hot, fault):
    """Too slow for what comes: the rest is counted under its own name."""
    a = fault(lambda seconds, number: "hang" if seconds < 6 else "ok")
    h = hot(1, 20000).go()
    s = spanhound("--pid", h.pid, "-f", "p_hot", "--export", f"datadog:{a.url}", export=False,
                  env={"DD_TRACE_WRITER_BUFFER_SIZE_BYTES": "1000000", "DD_TRACE_AGENT_TIMEOUT_SECONDS": "1"})
    wait_for(lambda: len(a.accepted) > 1000, "spans")
    r = s.stop(status=None)
    h.stop()
    harness.assert_identity(r.summary)
    assert r.summary["dropped"]["agent_backpressure"] > 1000
    assert "counted as agent_backpressure" in r.stderr
    assert r.status != 0
    assert len(a.accepted) == r.summary["exported"]


def test_socket_vanishes_and_returns(spanhound, hot, fault, tmp_path):
    a = fault(uds=str(tmp_path / "apm.socket"))
    h = hot(1, 1000).go()
    s = spanhound("--pid", h.pid, "-f", "p_hot", export=False, env={"DD_TRACE_AGENT_URL": a.url})
    wait_for(lambda: len(a.accepted) > 100, "spans")
    for _ in range(2):
        a.vanish()
        before = len(s.stderr_lines)
        wait_for(lambda: len(s.stderr_lines) > before, "a word about it")
        a.appear()
        count = len(a.accepted)
        wait_for(lambda: len(a.accepted) > count + 100, "spans after it came back")
    r = s.stop(status=None)
    h.stop()
    harness.assert_identity(r.summary)
    assert len(a.accepted) == r.summary["exported"]
    assert r.stderr.count("takes spans again") == 2


@pytest.mark.parametrize("name,trusted,delivers", [("localhost", True, True), ("elsewhere.example", True, False),
                                                   ("localhost", False, False)])
def test_tls(spanhound, program, fault, tmp_path, name, trusted, delivers):
    """A certificate of the right name from an authority we trust; of another name; from nobody we know."""
    files = certificate(tmp_path, name)
    a = fault(certificate=files)
    p = program("calls", "nested")
    s = spanhound("--pid", p.pid, "-f", "p_*", "--export", f"datadog:{a.url}", export=False,
                  env={"SSL_CERT_FILE": files[0]} if trusted else {})
    p.run()
    if not delivers:
        s.wait_line("no Datadog Agent answers")
    r = s.stop(status=None)
    assert len(a.accepted) == r.summary["exported"] == (len(p.calls) if delivers else 0)
    if not delivers:
        assert r.dropped == {"export_failed": len(p.calls)}
        assert "certificate" in r.stderr, r.stderr


def test_v05_test_agent(spanhound, program, tmp_path):
    """The real test agent takes v0.5 with all its checks on, and sees the same spans."""
    a = agents.TestAgent(str(tmp_path))
    try:
        p = program("calls", "nested", env={"DD_SERVICE": "shop", "DD_ENV": "prod", "DD_VERSION": "1.0"})
        s = spanhound("--pid", p.pid, "-f", "p_*", "--export", f"datadog:{a.url}", env={"DD_TRACE_API_VERSION": "v0.5"})
        p.run()
        r = s.stop()
        assert "fail" not in a.failures().lower() or a.failures() == "No failures", a.failures()
        assert {q["url"].split("/", 3)[3] for q in a.requests() if "traces" in q["url"]} == {"v0.5/traces"}
        got = {x["span_id"]: x for x in a.spans()}
        assert len(got) == len(p.calls) == r.summary["exported"]
        for x in r.spans:
            y = got[x["span_id"]]
            for key in ("service", "name", "resource", "trace_id", "parent_id", "start", "duration", "error"):
                assert (y.get(key) or 0) == x[key] or y.get(key) == x[key], key
    finally:
        a.stop()


@pytest.mark.parametrize("status", [404, 415])
def test_v05_refused(spanhound, program, fault, status):
    """Nothing is lost on the way down."""
    a = fault(info=lambda seconds: b"{}" if seconds < 0 else json.dumps(agents.FaultAgent.INFO).encode())
    a.fault = lambda seconds, number: "ok" if "/v0.4/traces" in a.paths else status
    p = program("calls", "nested")
    s = spanhound("--pid", p.pid, "-f", "p_*", "--export", f"datadog:{a.url}", env={"DD_TRACE_API_VERSION": "v0.5"})
    p.run()
    r = s.stop()
    assert len(a.accepted) == len(p.calls) == r.summary["exported"]
    assert a.paths == {"/v0.4/traces", "/v0.5/traces"}
    assert f"does not take v0.5 (HTTP {status})" in r.stderr
