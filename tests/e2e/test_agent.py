# SPDX-License-Identifier: Apache-2.0
"""Spans in a Datadog Agent: the real test agent with all its checks; agents that are absent, slow, failing, dying,
returning. In every case seen = exported + dropped, and the target does not notice."""
import json
import subprocess
import sys
import time

import pytest

import agents
import harness
from harness import wait_for
from test_requests import SERVER, get


@pytest.fixture
def agent(tmp_path):
    running = []

    def start(**kwargs):
        a = agents.TestAgent(str(tmp_path), **kwargs)
        running.append(a)
        return a

    yield start
    for a in running:
        a.stop()


@pytest.fixture
def fake():
    running = []

    def start(*args, **kwargs):
        a = agents.FakeAgent(*args, **kwargs)
        running.append(a)
        return a

    yield start
    for a in running:
        a.stop()


def to(url):
    return ("--export", f"datadog:{url}")


def test_real_test_agent(spanhound, program, agent):
    a = agent()
    p = program("calls", "nested", env={"DD_SERVICE": "shop", "DD_ENV": "prod", "DD_VERSION": "1.0"})
    s = spanhound("--pid", p.pid, "-f", "p_*", *to(a.url))
    p.run()
    r = s.stop()
    got = {x["span_id"]: x for x in a.spans()}
    assert a.failures() in ("", "No failures", "{}") or "fail" not in a.failures().lower(), a.failures()
    assert len(got) == len(p.calls) == r.summary["exported"]
    for x in r.spans:
        y = got[x["span_id"]]
        for key in ("service", "name", "resource", "trace_id", "parent_id", "start", "duration", "error"):
            assert (y.get(key) or 0) == x[key] or y.get(key) == x[key], key
    assert all(y["service"] == "shop" and y["meta"]["env"] == "prod" for y in got.values())


def test_real_test_agent_takes_everything(spanhound, program, agent, tmp_path):
    """Exceptions, errors, unfinished calls, captured strings that are not UTF-8, threads."""
    a = agent()
    config = harness.write(tmp_path, "all.yaml", """
probes:
  - function: p_string
    args: {s: {at: 1, type: string, max: 256}, n: {at: 2, type: i32}}
  - function: p_bytes
    args: {n: {at: 2, type: i32}, p: {at: 1, type: bytes(n)}}
  - function: p_fails
    error: return < 0
""")
    args = program("args", "values")
    s = spanhound("--pid", args.pid, "-c", config, *to(a.url))
    args.run()
    total = s.stop().summary["exported"]
    for name, case, functions in (("throws", "far", "probed::*"), ("calls", "exit", "p_*"), ("calls", "threads 8", "p_*")):
        p = program(name, *case.split())
        s = spanhound("--pid", p.pid, "-f", functions, *to(a.url))
        p.run()
        total += s.stop().summary["exported"]
    assert len(a.spans()) == total
    assert "fail" not in a.failures().lower(), a.failures()


@pytest.mark.parametrize("version", ["v0.4", "v0.5"])
def test_links_and_events(spanhound, program, agent, tmp_path, version):
    """Added by span rules: fields where the Agent takes them, JSON in tags where it does not; in JSON lines, fields."""
    a = agent()
    config = harness.write(tmp_path, "rules.yaml", """
span_rules:
  - match: {name: p_outer}
    set: {tags: {batch: 6b00c44a000000001122334455667788}}
  - match: {name: p_outer}
    add_link: {trace_id: "{batch}", span_id: "0x12", attributes: {kind: batch, of: "{service}"}}
    add_event: {name: "end of {name}", attributes: {n: 5, share: 0.5, good: true, text: "{batch}"}}
""")
    p = program("calls", "nested", env={"DD_SERVICE": "shop"})
    s = spanhound("--pid", p.pid, "-f", "p_*", "-c", config, *to(a.url), env={"DD_TRACE_API_VERSION": version})
    p.run()
    r = s.stop()
    assert "fail" not in a.failures().lower(), a.failures()
    link = {"trace_id": "6b00c44a000000001122334455667788", "span_id": "0000000000000012",
            "attributes": {"kind": "batch", "of": "shop"}}
    attributes = {"n": 5, "share": 0.5, "good": True, "text": link["trace_id"]}
    mine = {x["span_id"]: x for x in r.spans if x["name"] == "p_outer"}
    assert mine and {x["span_id"] for x in r.spans if "span_links" in x or "span_events" in x} == set(mine)
    got = {x["span_id"]: x for x in a.spans()}
    for span_id, x in mine.items():
        event = {"name": "end of p_outer", "time_unix_nano": x["start"] + x["duration"], "attributes": attributes}
        assert x["span_links"] == [link] and x["span_events"] == [event]
        y = got[span_id]
        if version == "v0.5":
            assert json.loads(y["meta"]["_dd.span_links"]) == [link] and json.loads(y["meta"]["events"]) == [event]
            continue
        assert y["span_links"] == [{"trace_id": 0x1122334455667788, "trace_id_high": 0x6b00c44a00000000, "span_id": 0x12,
                                    "attributes": link["attributes"]}]
        typed = {"n": {"type": 2, "int_value": 5}, "share": {"type": 3, "double_value": 0.5},
                 "good": {"type": 1, "bool_value": True}, "text": {"type": 0, "string_value": link["trace_id"]}}
        assert y["span_events"] == [{**event, "attributes": typed}]


@pytest.mark.parametrize("version", ["v0.4", "v0.5"])
def test_links_by_headers(spanhound, background, agent, version):
    a = agent()
    p = background(sys.executable, "-c", SERVER, stdout=subprocess.PIPE, text=True, env=harness.target_environment())
    port = int(p.stdout.readline())
    s = spanhound("--pid", p.pid, *to(a.url), env={"DD_TRACE_API_VERSION": version})
    get(port, "/", **{"x-datadog-trace-id": "2", "x-datadog-parent-id": "3", "traceparent": f"00-{0x12:016x}{0x34:016x}-{5:016x}-01",
                      "tracestate": "a=b"})
    s.stop()
    assert "fail" not in a.failures().lower(), a.failures()
    [span] = a.spans()
    attributes = {"reason": "terminated_context", "context_headers": "tracecontext"}
    if version == "v0.5":
        assert span["meta"]["_dd.span_links"] == (
            f'[{{"trace_id": "{0x12:016x}{0x34:016x}", "span_id": "{5:016x}", "attributes": {{"reason": "terminated_context", '
            '"context_headers": "tracecontext"}, "tracestate": "a=b", "flags": 1}]')
    else:
        assert span["span_links"] == [{"trace_id": 0x34, "trace_id_high": 0x12, "span_id": 5, "attributes": attributes,
                                       "tracestate": "a=b", "flags": 1 << 31 | 1}]


def test_unix_socket(spanhound, program, agent, tmp_path):
    path = str(tmp_path / "apm.socket")
    a = agent(uds=path)
    p = program("calls", "nested")
    s = spanhound("--pid", p.pid, "-f", "p_*", *to(f"unix://{path}"))
    p.run()
    r = s.stop()
    assert len(a.spans()) == r.summary["exported"] == len(p.calls)


@pytest.mark.parametrize("env", ["DD_TRACE_AGENT_URL", "DD_AGENT_HOST"])
def test_found_by_environment(spanhound, program, fake, env):
    """Without --export: the agent, if one answers."""
    a = fake()
    variables = {"DD_TRACE_AGENT_URL": a.url} if env == "DD_TRACE_AGENT_URL" else \
        {"DD_AGENT_HOST": "127.0.0.1", "DD_TRACE_AGENT_PORT": str(a.port)}
    p = program("calls", "nested")
    s = spanhound("--pid", p.pid, "-f", "p_*", export=False, env=variables)
    p.run()
    s.stop()
    assert len(a.accepted) == len(p.calls)
    assert str(a.port) in s.stderr, "says where the spans go"


def test_no_agent_no_export_is_console(spanhound, program):
    p = program("calls", "nested")
    s = spanhound("--pid", p.pid, "-f", "p_*", export=False,
                  env={"DD_TRACE_AGENT_URL": f"http://127.0.0.1:{agents.free_port()}"})
    p.run()
    s.stop()
    assert "p_outer" in s.stdout


def test_payload(spanhound, program, fake):
    """What is on the wire, decoded by another msgpack."""
    a = fake()
    p = program("calls", "nested", env={"DD_SERVICE": "shop"})
    s = spanhound("--pid", p.pid, "-f", "p_*", *to(a.url))
    p.run()
    s.stop()
    assert a.requests
    for path, headers, body, _ in a.requests:
        h = {k.lower(): v for k, v in headers.items()}
        assert path == "/v0.4/traces"
        assert h["content-type"] == "application/msgpack"
        assert h["datadog-meta-tracer-version"] and h["datadog-meta-lang"]
        assert int(h["x-datadog-trace-count"]) == len(agents.msgpack.unpackb(body, strict_map_key=False))
    for chunk in a.chunks():
        assert len({x["trace_id"] for x in chunk}) == 1, "one trace per chunk"
        head = chunk[0]
        assert head["meta"]["_dd.p.tid"] and len(head["meta"]["_dd.p.tid"]) == 16 and head["meta"]["_dd.p.tid"].endswith("0" * 8)
        assert head["metrics"]["_sampling_priority_v1"] in (1.0, 2.0)
        for x in chunk:
            assert isinstance(x["trace_id"], int) and isinstance(x["start"], int)
            assert all(isinstance(v, str) for v in x["meta"].values())
            assert all(isinstance(v, float) for v in x["metrics"].values())
    tids = {c[0]["meta"]["_dd.p.tid"] for c in a.chunks()}
    for t in tids:
        assert abs(int(t, 16) // 2**32 - time.time()) < 300


def test_partial_flush(spanhound, program, fake):
    """A trace of many spans goes out in pieces of 300 before its root ended."""
    a = fake()
    p = program("calls", "longjmp_again")
    s = spanhound("--pid", p.pid, "-f", "p_*", *to(a.url))
    p.run()
    s.stop()
    assert len(a.accepted) == len(p.calls)
    sizes = [len(c) for c in a.chunks()]
    assert max(sizes) < 700, sizes
    big = [c for c in a.chunks() if len(c) >= 300]
    assert big
    ids = {x["span_id"] for x in a.accepted}
    assert len(ids) == len(p.calls)


@pytest.mark.parametrize("env,whole", [({"DD_TRACE_PARTIAL_FLUSH_ENABLED": "false"}, True),
                                       ({"DD_TRACE_PARTIAL_FLUSH_MIN_SPANS": "50"}, False)])
def test_partial_flush_settings(spanhound, program, fake, env, whole):
    a = fake()
    p = program("calls", "longjmp_again")
    s = spanhound("--pid", p.pid, "-f", "p_*", *to(a.url), env=env)
    p.run()
    s.stop()
    sizes = [len(c) for c in a.chunks()]
    assert len(a.accepted) == len(p.calls)
    if whole:
        assert max(sizes) == max(len(p.calls) - 1, 1)
    else:
        assert sorted(sizes)[-1] < 300


def test_absent(spanhound, program):
    """Said once, plainly; the spans are counted as dropped; the program does not notice; the exit status says it."""
    url = f"http://127.0.0.1:{agents.free_port()}"
    p = program("calls", "nested")
    s = spanhound("--pid", p.pid, "-f", "p_*", *to(url), export=False)
    p.run()
    r = s.stop(status=None)
    assert p.status == 0
    assert r.status not in (0, -9, -11)
    assert r.summary["seen"] == len(p.calls)
    assert r.dropped == {"export_failed": len(p.calls)}
    said = [line for line in r.stderr.splitlines() if url.removeprefix("http://") in line]
    assert 1 <= len(said) <= 3, r.stderr


def test_returns(spanhound, hot, fake):
    """An agent that comes up later gets what was held back; both changes are said."""
    port = agents.free_port()
    h = hot(1, 500).go()
    s = spanhound("--pid", h.pid, "-f", "p_hot", *to(f"http://127.0.0.1:{port}"), export=False)
    s.wait_line(str(port))
    a = fake(port=port)
    wait_for(lambda: len(a.accepted) > 500, "spans after the agent came back")
    r = s.stop(status=None)
    assert len(a.accepted) == r.summary["exported"]
    assert set(r.dropped) <= {"export_failed", "queue_full"}
    h.stop()


def test_dies(spanhound, hot, fake):
    a = fake()
    h = hot(1, 500).go()
    s = spanhound("--pid", h.pid, "-f", "p_hot", *to(a.url), export=False)
    wait_for(lambda: len(a.accepted) > 200, "spans")
    a.stop()
    before = len(s.stderr_lines)
    wait_for(lambda: len(s.stderr_lines) > before, "a word about it")
    b = fake(port=a.port)
    wait_for(lambda: len(b.accepted) > 200, "spans after it came back")
    r = s.stop(status=None)
    assert r.summary["exported"] <= len(a.accepted) + len(b.accepted)
    assert r.summary["exported"] >= len(b.accepted)
    h.stop()


def test_slow(spanhound, hot, fake):
    """Two seconds for every answer: the target keeps its pace, nothing is lost unsaid."""
    a = fake(lambda number, path: 2.0)
    h = hot(1, 2000).go()
    s = spanhound("--pid", h.pid, "-f", "p_hot", *to(a.url), export=False)
    wait_for(lambda: len(a.requests) >= 2, "requests")
    r = s.stop(status=None)
    assert len(a.accepted) == r.summary["exported"]
    assert h.stop()["calls"] > 100


def test_hangs(spanhound, program, fake):
    """No answer ever: spanhound ends all the same, and says what became of the spans."""
    a = fake(lambda number, path: "hang")
    p = program("calls", "nested")
    s = spanhound("--pid", p.pid, "-f", "p_*", *to(a.url), export=False)
    p.run()
    begin = time.monotonic()
    r = s.stop(status=None)
    assert time.monotonic() - begin < 30
    assert r.status != 0 and r.summary["exported"] == 0 and r.dropped == {"export_failed": len(p.calls)}


@pytest.mark.parametrize("answer", [500, 503, 429, "close"])
def test_refuses_for_a_while(spanhound, program, fake, answer):
    """Retried with patience; delivered exactly once when it recovers."""
    a = fake(lambda number, path: answer if number < 2 else 200)
    p = program("calls", "nested")
    s = spanhound("--pid", p.pid, "-f", "p_*", *to(a.url), export=False)
    p.run()
    wait_for(lambda: a.accepted, "a delivery after two refusals")
    r = s.stop()
    assert len(a.accepted) == len({x["span_id"] for x in a.accepted}) == len(p.calls) == r.summary["exported"]
    times = [t for _, _, _, t in a.requests[:3]]
    # On a connection that was in use before, one that is closed without an answer may be an idle one that ended: libcurl
    # asks once more on a new one at once (RFC 9112, 9.3.1).
    first = 1 if answer == "close" and times[1] - times[0] <= 0.02 else 0
    assert times[first + 1] - times[first] > 0.02, "waits before it tries again"


@pytest.mark.parametrize("answer", [400, 404, 413, 415])
def test_refuses_for_good(spanhound, program, fake, answer):
    """What the agent will never take is dropped and counted, not tried for ever."""
    a = fake(lambda number, path: answer)
    p = program("calls", "nested")
    s = spanhound("--pid", p.pid, "-f", "p_*", *to(a.url), export=False)
    p.run()
    r = s.stop(status=None)
    assert r.summary["exported"] == 0 and r.dropped == {"export_failed": len(p.calls)}
    assert str(answer) in r.stderr
    assert len(a.requests) < 50


def test_two_exporters(spanhound, program, fake):
    a = fake()
    p = program("calls", "nested")
    s = spanhound("--pid", p.pid, "-f", "p_*", *to(a.url))
    p.run()
    r = s.stop()
    assert {x["span_id"] for x in r.spans} == {x["span_id"] for x in a.accepted}


def test_as_the_agent_would(spanhound, program, fake, tmp_path):
    """Secrets are nobody's; for an Agent names are normalised here, too, and every exporter shows that."""
    rules = harness.write(tmp_path, "sql.yaml", """
probes:
  - function: p_string
    span: {name: "pay::{currency}!", type: sql, service: My Bank, resource: "SELECT * FROM t WHERE c = '{currency}' LIMIT {n}"}
    args: {currency: {at: 1, type: string, max: 16}, n: {at: 2, type: i32}}
""")
    seen = {}
    for where in ("agent", "file"):
        p = program("args", "values")
        s = spanhound("--pid", p.pid, "-c", rules, *(to(fake().url) if where == "agent" else ()))
        p.run()
        seen[where] = next(x for x in s.stop().spans if "EUR" in x["name"])
    assert (seen["agent"]["name"], seen["agent"]["resource"]) == ("pay_EUR", "SELECT * FROM t WHERE c = ? LIMIT ?")
    assert (seen["file"]["name"], seen["file"]["resource"]) == ("pay::EUR!", "SELECT * FROM t WHERE c = ? LIMIT ?")
    assert seen["agent"]["service"] == seen["file"]["service"] == "my_bank"
