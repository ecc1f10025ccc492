# SPDX-License-Identifier: Apache-2.0
"""Sampling and statistics of real programs, as the real test agent receives them."""
import json
import subprocess
import sys
import urllib.parse
import urllib.request

import msgpack
import pytest

import agents
import harness
from harness import wait_for

KNUTH = 1111111111111111111
STATS = {"DD_TRACE_STATS_COMPUTATION_ENABLED": "true"}


@pytest.fixture
def agent(tmp_path):
    a = agents.TestAgent(str(tmp_path))
    yield a
    a.stop()


def rules(*entries):
    return {"DD_TRACE_SAMPLING_RULES": json.dumps(entries)}


def keeps(trace_id, rate):
    """The formula of Datadog's tracers, in integers of any size."""
    return trace_id * KNUTH % 2**64 <= rate * 2**64


def heads(agent):
    return [t[0] for t in agent.traces()]


def to(agent):
    return ("--export", f"datadog:{agent.url}")


def traced(spanhound, program, agent, *args, env=None, target_env=None, case="nested"):
    """All calls of a program; the result of spanhound."""
    p = program("calls", *case.split(), env=target_env)
    s = spanhound("--pid", p.pid, "-f", "p_*", *args, *to(agent), export=False, env=env)
    p.run()
    return p, s.stop()


@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_rule_of_environment(spanhound, program, agent, whose):
    """Of spanhound's environment or of the target's own; the chunk is sent all the same: the Agent counts it."""
    rule = rules({"service": "SH?P", "resource": "p_*", "sample_rate": 0})
    p, r = traced(spanhound, program, agent, env=rule if whose == "ours" else None,
                  target_env={"DD_SERVICE": "shop", **(rule if whose == "theirs" else {})})
    assert len(agent.spans()) == len(p.calls) == r.summary["exported"]
    for head in heads(agent):
        assert head["metrics"]["_sampling_priority_v1"] == -1
        assert head["metrics"]["_dd.rule_psr"] == 0
        assert "_dd.limit_psr" not in head["metrics"]
        assert head["meta"]["_dd.p.dm"] == "-3"
        assert head["meta"]["_dd.p.ksr"] == "0"
    assert "fail" not in agent.failures().lower()


def test_ours_goes_before_theirs(spanhound, program, agent):
    traced(spanhound, program, agent, env=rules({"sample_rate": 1}), target_env=rules({"sample_rate": 0}))
    assert all(h["metrics"]["_sampling_priority_v1"] == 2 and h["metrics"]["_dd.limit_psr"] == 1 for h in heads(agent))


def test_nothing_said(spanhound, program, agent):
    traced(spanhound, program, agent)
    for head in heads(agent):
        assert head["metrics"]["_sampling_priority_v1"] == 1 and head["meta"]["_dd.p.dm"] == "-0"
        assert not [k for k in head["metrics"] if k.endswith("_psr")] and "_dd.p.ksr" not in head["meta"]


@pytest.mark.parametrize("variables,said", [
    (rules({"sampel_rate": 1}), "DD_TRACE_SAMPLING_RULES: rule 1: unknown key 'sampel_rate'; did you mean 'sample_rate'?"),
    ({"DD_TRACE_SAMPLE_RATE": "10%"}, "DD_TRACE_SAMPLE_RATE: '10%' is not a number from 0 to 1"),
    ({"DD_SPAN_SAMPLING_RULES_FILE": "/nonexistent"}, "DD_SPAN_SAMPLING_RULES_FILE: cannot read /nonexistent"),
    ({"DD_TRACE_STATS_COMPUTATION_ENABLED": "maybe"}, "'maybe' is not true or false"),
])
def test_mistakes(program, variables, said):
    """Ours: said, and nothing is traced."""
    p = program("calls", "nested")
    status, _, err = harness.spanhound_once("attach", "--pid", p.pid, "-f", "p_*", "--export", "console", env=variables)
    p.run()
    assert status == 2 and said in err, err


def test_mistake_of_a_target(spanhound, program, agent):
    """Theirs: a warning, and it is traced as if it said nothing."""
    p = program("calls", "nested", env={"DD_TRACE_SAMPLING_RULES": "[{]"})
    s = spanhound("--pid", p.pid, "-f", "p_*", *to(agent), export=False)
    p.run()
    s.stop()
    assert s.stderr.count("DD_TRACE_SAMPLING_RULES: line 1, column 3:") == 1, s.stderr
    assert all(h["meta"]["_dd.p.dm"] == "-0" for h in heads(agent))


def test_half_of_them(spanhound, hot, agent):
    """Which half is settled by the trace id alone, and the share is right."""
    h = hot(1, 1000).go()
    s = spanhound("--pid", h.pid, "-f", "p_hot", "--count", "3000", *to(agent), export=False,
                  env={**rules({"sample_rate": 0.5}), "DD_TRACE_RATE_LIMIT": "-1"})
    s.result()
    h.stop()
    got = heads(agent)
    assert len(got) >= 3000
    for head in got:
        kept = head["metrics"]["_sampling_priority_v1"]
        assert kept == (2 if keeps(head["trace_id"], 0.5) else -1)
    assert abs(sum(x["metrics"]["_sampling_priority_v1"] > 0 for x in got) / len(got) - 0.5) < 0.06


def test_rate_limit(spanhound, hot, agent):
    """Ten a second pass and no more; the others say that it was the limit."""
    h = hot(1, 500).go()
    s = spanhound("--pid", h.pid, "-f", "p_hot", "--duration", "3s", *to(agent), export=False,
                  env={**rules({"sample_rate": 1}), "DD_TRACE_RATE_LIMIT": "10"})
    s.result()
    h.stop()
    got = heads(agent)
    kept = sum(x["metrics"]["_sampling_priority_v1"] == 2 for x in got)
    assert 25 <= kept <= 55 and len(got) > 1000, (kept, len(got))
    assert all(0 < x["metrics"]["_dd.limit_psr"] <= 1 for x in got)
    assert min(x["metrics"]["_dd.limit_psr"] for x in got) < 0.1


def test_agent_rates(spanhound, hot, agent):
    """What the Agent answers is in force within a second."""
    h = hot(1, 200)
    h.go()
    # The service is the program's name.
    agent.get("/test/session/start?" + urllib.parse.urlencode(
        {"agent_sample_rate_by_service": json.dumps({"service:calls,env:": 0.25, "service:hot,env:": 0.25})}))
    s = spanhound("--pid", h.pid, "-f", "p_hot", *to(agent), export=False)
    wait_for(lambda: sum(x["meta"].get("_dd.p.dm") == "-1" for x in heads(agent)) > 400, "spans with the Agent's rate")
    s.stop()
    h.stop()
    sampled = [x for x in heads(agent) if x["meta"]["_dd.p.dm"] == "-1"]
    for x in sampled:
        assert x["metrics"]["_dd.agent_psr"] == 0.25 and x["meta"]["_dd.p.ksr"] == "0.25"
        assert x["metrics"]["_sampling_priority_v1"] == keeps(x["trace_id"], 0.25)
    assert 0.15 < sum(x["metrics"]["_sampling_priority_v1"] for x in sampled) / len(sampled) < 0.35


def decoded(agent):
    """(headers, payload) of each request for statistics."""
    import base64
    return [({k.lower(): v for k, v in r["headers"].items()}, msgpack.unpackb(base64.b64decode(r["body"])))
            for r in agent.requests() if r["url"].endswith("/v0.6/stats")]


def groups(agent):
    return [g for _, p in decoded(agent) for b in p["Stats"] for g in b["Stats"]]


def trace_requests(agent):
    return [{k.lower(): v for k, v in r["headers"].items()} for r in agent.requests() if "/traces" in r["url"]]


def test_stats(spanhound, hot, agent):
    """Every call is counted, whatever becomes of its trace; what is not kept stays here, and both sides say how much."""
    h = hot(1, 500).go()
    s = spanhound("--pid", h.pid, "-f", "p_hot", "--duration", "6s", *to(agent), export=False,
                  env={**STATS, **rules({"sample_rate": 0.2}), "DD_TRACE_RATE_LIMIT": "-1"})
    r = s.result()
    h.stop()
    seen, left_out = r.summary["seen"], r.dropped["unsampled"]
    assert seen == r.summary["exported"] + left_out
    counted = [x for x in trace_requests(agent) if x.get("datadog-client-computed-stats")]
    assert counted, trace_requests(agent)
    # Until the Agent has said that it takes statistics, it counts itself.
    before = sum(int(x["x-datadog-trace-count"]) for x in trace_requests(agent) if not x.get("datadog-client-computed-stats"))
    hits = sum(g["Hits"] for g in groups(agent))
    assert hits == seen - before and before < 500
    assert all(g["Resource"] == "p_hot" and g["TopLevelHits"] == g["Hits"] and g["IsTraceRoot"] == 1 for g in groups(agent))
    kept = [x for x in heads(agent) if x["metrics"]["_sampling_priority_v1"] > 0]
    assert len(heads(agent)) - len(kept) <= before
    assert all(keeps(x["trace_id"], 0.2) for x in kept)
    # Those after the last trace that was sent could not be told any more.
    told = sum(int(x.get("datadog-client-dropped-p0-traces", 0)) for x in counted)
    assert left_out - 60 < told <= left_out
    assert told == sum(int(x.get("datadog-client-dropped-p0-spans", 0)) for x in counted)
    sequences = [p["Sequence"] for _, p in decoded(agent)]
    assert sorted(sequences) == list(range(len(sequences)))
    for headers, p in decoded(agent):
        assert headers["content-type"] == "application/msgpack" and headers["datadog-meta-lang"] == "cpp"
        assert p["RuntimeID"] and p["Service"]
        assert all(b["Start"] % 10**10 == 0 and b["Duration"] == 10**10 for b in p["Stats"])
    assert "fail" not in agent.failures().lower()


def test_stats_not_asked_for(spanhound, program, agent):
    p, r = traced(spanhound, program, agent, env=rules({"sample_rate": 0}))
    assert not decoded(agent)
    assert r.summary["exported"] == len(p.calls)
    assert not [x for x in trace_requests(agent) if "datadog-client-computed-stats" in x]


def test_kept_spans(spanhound, hot, agent):
    """Of a trace that is not kept, the spans that a span rule wants are sent, and say so."""
    h = hot(1, 500).go()
    s = spanhound("--pid", h.pid, "-f", "p_hot", "--duration", "4s", *to(agent), export=False,
                  env={**STATS, **rules({"sample_rate": 0}),
                       "DD_SPAN_SAMPLING_RULES": json.dumps([{"name": "p_*", "max_per_second": 20}])})
    r = s.result()
    h.stop()
    kept = [x for x in heads(agent) if "_dd.span_sampling.mechanism" in x["metrics"]]
    assert 60 <= len(kept) <= 130
    for x in kept:
        assert x["metrics"]["_dd.span_sampling.mechanism"] == 8
        assert x["metrics"]["_dd.span_sampling.rule_rate"] == 1
        assert x["metrics"]["_dd.span_sampling.max_per_second"] == 20
        assert x["metrics"]["_sampling_priority_v1"] == -1
    assert r.summary["seen"] == r.summary["exported"] + r.dropped["unsampled"]


def test_others_get_everything(spanhound, hot, agent):
    """A file beside the Agent: nothing is left out."""
    h = hot(1, 300).go()
    s = spanhound("--pid", h.pid, "-f", "p_hot", "--duration", "2s", *to(agent), env={**STATS, **rules({"sample_rate": 0})})
    r = s.result()
    h.stop()
    assert "unsampled" not in r.dropped
    assert len(r.spans) == r.summary["exported"] == r.summary["seen"]
    assert sum(g["Hits"] for g in groups(agent)) > 0


CHAIN = """
import http.client, sys
import http.server, threading
if sys.argv[1] == "serve":
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")
        def log_message(self, *_): pass
    s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(s.server_port, flush=True)
    s.serve_forever()
print("ready", flush=True)
sys.stdin.readline()
for i in range(int(sys.argv[3])):
    c = http.client.HTTPConnection("127.0.0.1", int(sys.argv[2]))
    c.request("GET", "/cart")
    c.getresponse().read()
    c.close()
"""


def test_one_decision_for_all_processes(spanhound, background):
    """Who asks keeps half of its traces, who answers would keep all: no trace is kept by halves, though who answers is
    done first."""
    cnt = 60
    fake = agents.FakeAgent()
    env = {"DD_SERVICE": "back", "DD_TRACE_SAMPLE_RATE": "1"}
    back = background(sys.executable, "-c", CHAIN, "serve", stdout=subprocess.PIPE, text=True,
                      env=harness.target_environment(env))
    port = back.stdout.readline().strip()
    env = {"DD_SERVICE": "front", "DD_TRACE_SAMPLE_RATE": "0.5", "DD_TRACE_RATE_LIMIT": "-1"}
    front = background(sys.executable, "-c", CHAIN, "ask", port, str(cnt), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                       text=True, env=harness.target_environment(env))
    front.stdout.readline()
    s = spanhound("--pid", f"{front.pid},{back.pid}", "--export", f"datadog:{fake.url}", export=False)
    front.stdin.write("go\n")
    front.stdin.flush()
    front.wait(harness.PATIENCE_S)
    s.stop()
    traces = {}
    for chunk in fake.chunks():
        traces.setdefault(chunk[0]["trace_id"], {})[chunk[0]["service"]] = chunk[0]
    fake.stop()
    joined = [t for t in traces.values() if len(t) == 2]
    assert len(joined) == len(traces) == cnt
    for trace_id, t in traces.items():
        want = 2 if keeps(trace_id, 0.5) else -1
        assert {h["metrics"]["_sampling_priority_v1"] for h in t.values()} == {want}
        assert {h["meta"]["_dd.p.dm"] for h in t.values()} == {"-3"}
        assert t["front"]["meta"]["_dd.p.tid"] == t["back"]["meta"]["_dd.p.tid"]
        assert {h["meta"]["_dd.p.ksr"] for h in t.values()} == {"0.5"}
        assert "_dd.rule_psr" in t["front"]["metrics"] and "_dd.rule_psr" not in t["back"]["metrics"]
    kept = sum(t["back"]["metrics"]["_sampling_priority_v1"] > 0 for t in joined)
    assert 0 < kept < cnt
