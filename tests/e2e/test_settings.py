# SPDX-License-Identifier: Apache-2.0
"""Settings: who decides, what `info` says about it, what is said of wrong and unknown ones. The precedence of each
setting of the table is in tests/unit/test_settings.c."""
import json
import os
import socket

import harness
from harness import write

README = os.path.join(os.path.dirname(__file__), "..", "..", "README.md")


def test_readme_has_the_table():
    status, out, err = harness.spanhound_once("info", "--settings-table")
    assert status == 0, err
    with open(README, encoding="utf-8") as f:
        text = f.read()
    assert out in text, "README.md has another table of settings: tests/tools/readme_settings.py writes it"


def settings(*args, env):
    status, out, err = harness.spanhound_once("info", "--json", *args, env=harness.target_environment(env))
    assert status == 0, err
    told = json.loads(out)
    assert len(told["processes"]) == 1, err
    return told["processes"][0]["settings"]


def test_origins(program, tmp_path):
    """One layer after the other taken away."""
    p = program("args", "values", env={"DD_SERVICE": "theirs", "DD_TAGS": "a:theirs", "DD_TRACE_HEADER_TAGS": "x:theirs",
                                       "DD_TRACE_SAMPLE_RATE": "0.1"})
    file = write(tmp_path, "s.yaml", f"""
targets:
  - pid: {p.pid}
    service: file
    settings: {{DD_TRACE_HEADER_TAGS: "x:file"}}
    sampling: {{rate: 0.2}}
agent:
  url: "http://me:secret@127.0.0.1:9"
settings: {{DD_TRACE_HEADER_TAGS: "x:whole", DD_TRACE_API_VERSION: v0.5}}
""")
    ours = {"DD_SERVICE": "ours", "DD_TRACE_HEADER_TAGS": "x:ours", "DD_TRACE_SAMPLE_RATE": "0.3",
            "DD_TRACE_AGENT_URL": "http://127.0.0.1:10", "DD_TRACE_API_VERSION": "v0.4"}

    def told(s, name):
        return s[name]["value"], s[name]["origin"]

    s = settings("-c", file, "--service", "flag", env=ours)
    assert told(s, "DD_SERVICE") == ("flag", "flag")
    assert told(s, "DD_TRACE_HEADER_TAGS") == ("x:ours", "environment")
    assert told(s, "DD_TRACE_AGENT_URL") == ("http://127.0.0.1:10", "environment")
    assert told(s, "DD_TRACE_API_VERSION") == ("v0.4", "environment")
    s = settings("-c", file, env={"DD_SERVICE": "ours"})
    assert told(s, "DD_SERVICE") == ("ours", "environment")
    assert told(s, "DD_TRACE_HEADER_TAGS") == ("x:file", "file")
    assert s["DD_TRACE_HEADER_TAGS"]["where"] == f"{file}:5"
    assert told(s, "DD_TRACE_SAMPLE_RATE") == ("0.2", "file")
    assert told(s, "DD_TRACE_AGENT_URL") == ("http://****@127.0.0.1:9", "file")
    assert s["DD_TRACE_AGENT_URL"]["where"] == f"{file}:8"
    assert told(s, "DD_TRACE_API_VERSION") == ("v0.5", "file")
    s = settings("--pid", p.pid, env={})
    assert told(s, "DD_SERVICE") == ("theirs", "target")
    assert told(s, "DD_TAGS") == ("a:theirs", "target")
    assert told(s, "DD_TRACE_SAMPLE_RATE") == ("0.1", "target")
    assert told(s, "DD_TRACE_API_VERSION") == ("v0.4", "default")


def test_order_in_spans(spanhound, program, tmp_path):
    """ours > file > theirs, tag by tag"""
    p = program("args", "values", env={"DD_SERVICE": "theirs", "DD_ENV": "theirs", "DD_VERSION": "theirs",
                                       "DD_TAGS": "a:theirs,b:theirs,c:theirs"})
    s = spanhound("-c", write(tmp_path, "t.yaml", f"""
targets:
  - {{pid: {p.pid}, service: file, env: file, tags: {{a: file, b: file}}}}
probes:
  - function: p_six
"""), env={"DD_SERVICE": "ours", "DD_TAGS": "a:ours"})
    p.run()
    span = s.stop().spans[0]
    assert span["service"] == "ours"
    assert [span["meta"].get(k) for k in ("env", "a", "b", "c")] == ["file", "ours", "file", "theirs"]


def test_file_is_obeyed(spanhound, program, tmp_path):
    """What `settings:` says of spanhound itself, and our environment against it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server, \
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        for s in (server, other):
            s.bind(("127.0.0.1", 0))
            s.settimeout(10)
        file = write(tmp_path, "t.yaml", f"""
probes: [{{function: p_six}}]
settings:
  DD_TRACE_HEALTH_METRICS_ENABLED: true
  DD_DOGSTATSD_URL: udp://127.0.0.1:{server.getsockname()[1]}
""")
        for receiver, env in ((server, {}), (other, {"DD_DOGSTATSD_PORT": str(other.getsockname()[1])})):
            p = program("args", "values")
            s = spanhound("-c", file, "--pid", p.pid, env=env)
            p.run()
            s.stop()
            assert b"datadog.tracer.heartbeat:1|g" in receiver.recv(65536)
        server.setblocking(False)
        try:
            raise AssertionError(server.recv(65536))
        except BlockingIOError:
            pass


def test_wrong_values_of_ours():
    status, _, err = harness.spanhound_once("attach", "--pid", os.getpid(), env=harness.target_environment({
        "DD_TRACE_API_VERSION": "v9", "DD_TRACE_AGENT_PORT": "none", "DD_TRACE_HEALTH_METRICS_ENABLED": "maybe"}))
    assert status == 2
    assert "DD_TRACE_API_VERSION: 'v9' is not one of v0.4, v0.5\n" in err
    assert "DD_TRACE_AGENT_PORT: 'none' is not a whole number from 1 to 65535\n" in err
    assert "DD_TRACE_HEALTH_METRICS_ENABLED: 'maybe' is not true or false (1 or 0)\n" in err


def test_unknown_and_wrong_ones(spanhound, program):
    p = program("args", "values", env={"DD_TRACE_SAMPLE_RATE": "often", "DD_LOGS_INJECTION": "true", "DD_SERVIC": "x"})
    s = spanhound("--pid", p.pid, "-f", "p_six", env={"DD_LOGS_INJECTION": "true", "DD_PROFILING_ENABLED": "1", "DD_TRACE_SAMPLING_RULE": "[]",
                                                      "DD_OF_SOMEBODY_ELSE": "1"})
    p.run()
    r = s.stop()
    assert len(r.spans) == 1
    assert r.stderr.count("not supported here, ignored: DD_LOGS_INJECTION, DD_PROFILING_ENABLED\n") == 1
    assert r.stderr.count("DD_LOGS_INJECTION") == 1
    assert "DD_TRACE_SAMPLING_RULE is no variable that is known; did you mean DD_TRACE_SAMPLING_RULES?" in r.stderr
    assert "DD_OF_SOMEBODY_ELSE" not in r.stderr
    theirs = f"in the environment of process {p.pid} (args): "
    assert theirs + "DD_SERVIC is no variable that is known; did you mean DD_SERVICE?" in r.stderr
    assert r.stderr.count("'often'") == 1 and theirs in r.stderr
