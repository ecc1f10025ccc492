# SPDX-License-Identifier: Apache-2.0
"""metric: of the probe list, at real sockets."""
import json
import os
import re
import socket

import pytest

import agents
from harness import spanhound_once, target_environment, wait_for, write


class Receiver:
    """A DogStatsD server: UDP, or a Unix socket of datagrams."""

    def __init__(self, path=None):
        self.socket = socket.socket(socket.AF_UNIX if path else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(path or ("127.0.0.1", 0))
        self.socket.settimeout(10)
        self.url = f"unix://{path}" if path else f"udp://127.0.0.1:{self.socket.getsockname()[1]}"

    def lines(self):
        """Of all packets that are there."""
        got = [self.socket.recv(65536).decode()]
        self.socket.setblocking(False)
        try:
            while True:
                got.append(self.socket.recv(65536).decode())
        except BlockingIOError:
            pass
        return [line for packet in got for line in packet.split("\n")]


@pytest.fixture(params=["udp", "unix"])
def receiver(request, tmp_path):
    r = Receiver(os.path.join(str(tmp_path), "dsd.socket") if request.param == "unix" else None)
    yield r
    r.socket.close()


def one(lines, name):
    found = [line for line in lines if line.startswith(name + ":")]
    assert len(found) == 1, (name, lines)
    return found[0]


def test_values_and_types(spanhound, program, tmp_path, receiver):
    p = program("args", "values", env={"DD_SERVICE": "shop", "DD_ENV": "prod", "DD_TAGS": "team:core"})
    s = spanhound("--pid", p.pid, "-c", write(tmp_path, "m.yaml", """
probes:
  - function: p_fails
    args: {errnum: {at: 1, type: i32}}
    return: i32
    metric:
      - name: test.calls
      - {name: test.sum, type: count, value: errnum}
      - {name: test.last, type: gauge, value: return}
      - {name: test.spread, value: errnum, tags: {function: "{function}", kind: fixed}}
      - {name: test.histogram, type: histogram, value: errnum}
  - function: p_six
    args: {a: {at: 1, type: i64}, b: {at: 2, type: i64}}
    metric: {name: "test.six.{a}", tags: {b: "{b}"}}
    span: false
  - function: p_slow
    metric: {name: test.slow, value: duration}
    span: {service: other}
"""), env={"DD_DOGSTATSD_URL": receiver.url})
    p.run()
    r = s.stop()
    tags = "service:shop,env:prod,team:core"
    lines = receiver.lines()
    assert one(lines, "test.calls") == f"test.calls:4|c|#{tags}"
    assert one(lines, "test.sum") == f"test.sum:6|c|#{tags}"
    assert one(lines, "test.last") == f"test.last:-3|g|#{tags}"
    assert one(lines, "test.spread") == f"test.spread:0:1:2:3|d|#{tags},function:p_fails,kind:fixed"
    assert one(lines, "test.histogram") == f"test.histogram:0:1:2:3|h|#{tags}"
    assert one(lines, "test.six.1") == f"test.six.1:1|c|#{tags},b:-2"
    slow = re.fullmatch(r"test\.slow:([\d.]+):([\d.]+)\|d\|#env:prod,team:core,service:other", one(lines, "test.slow"))
    assert slow and 1 <= float(slow[1]) < 30 <= float(slow[2]), lines
    assert {x["resource"] for x in r.spans} == {"p_fails", "p_slow"}
    assert r.dropped == {"metric_only": 1}
    assert r.summary["metrics"]["values"] == 4 * 5 + 1 + 2 and r.summary["metrics"]["refused"] == 0
    assert receiver.url in r.stderr


def test_no_span_in_the_middle(spanhound, program, tmp_path):
    """Whose spans are left out is left out of its children's ancestry, too."""
    receiver = Receiver()
    p = program("calls", "nested")
    s = spanhound("--pid", p.pid, "-c", write(tmp_path, "m.yaml", """
probes:
  - function: p_middle
    span: false
    metric: {name: middle}
  - function: [p_outer, p_pair, p_leaf]
"""), env={"DD_DOGSTATSD_URL": receiver.url})
    p.run()
    r = s.stop()
    ids = {x["span_id"] for x in r.spans}
    assert all(not x["parent_id"] or x["parent_id"] in ids for x in r.spans)
    assert "p_middle" not in {x["resource"] for x in r.spans}
    calls = sum(1 for c in p.calls if c.function == "p_middle")
    assert one(receiver.lines(), "middle").startswith(f"middle:{calls}|c|#service:")
    assert r.dropped == {"metric_only": calls}
    receiver.socket.close()


def test_every_call_whatever_the_sampling(spanhound, program, tmp_path):
    """Traces are sampled, metrics are not; a call that the probe's own sample: leaves out is made up for by the rate."""
    receiver = Receiver()
    p = program("calls", "nested", env={"DD_TRACE_SAMPLE_RATE": "0"})
    s = spanhound("--pid", p.pid, "-c", write(tmp_path, "m.yaml", """
probes:
  - function: p_outer
    metric: {name: outer}
  - function: p_leaf
    sample: 50%
    metric: {name: leaf}
"""), env={"DD_DOGSTATSD_URL": receiver.url})
    p.run()
    s.stop()
    lines = receiver.lines()
    assert one(lines, "outer").startswith("outer:20|c|#")
    assert re.match(r"leaf:\d+\|c\|@0\.5\|#", one(lines, "leaf"))
    receiver.socket.close()


def test_port_of_the_agent(spanhound, program, tmp_path):
    """What /info says about DogStatsD is used where nobody else says it."""
    receiver = Receiver()
    port = receiver.socket.getsockname()[1]
    agent = agents.FaultAgent(info=lambda _: json.dumps({**agents.FaultAgent.INFO, "config": {"statsd_port": port}}).encode())
    p = program("args", "values")
    s = spanhound("--pid", p.pid, "-c", write(tmp_path, "m.yaml", "probes: [{function: p_six, metric: {name: a.b}}]"),
                  "--export", f"datadog:{agent.url}", env={"DD_DOGSTATSD_HOST": "127.0.0.1"})
    wait_for(lambda: agent.infos, "a look at /info")
    p.run()
    s.stop()
    assert one(receiver.lines(), "a.b").startswith("a.b:1|c|#service:")
    agent.stop()
    receiver.socket.close()


def test_bad_url(spanhound, tmp_path):
    status, _, err = spanhound_once("attach", "--pid", os.getpid(), "-c", write(tmp_path, "m.yaml", """
probes: [{function: main, metric: {name: a}}]
"""), env=target_environment({"DD_DOGSTATSD_URL": "nowhere"}))
    assert status == 2 and "'nowhere' is not the URL of a DogStatsD server" in err
