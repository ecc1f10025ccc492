# SPDX-License-Identifier: Apache-2.0
"""More calls than anybody can take: the account stays exact to the unit, the target's own checks stay right."""
import json
import time

import pytest

import harness

pytestmark = pytest.mark.alone


@pytest.mark.parametrize("link,end", [(a, b) for a in harness.LINKS for b in harness.ENDS],
                         ids=lambda x: x)
def test_identity_under_overload(spanhound, hot, info, link, end):
    why = harness.link_missing(info, link)
    if why:
        pytest.skip(why)
    h = hot(4, 0, 2 if harness.SOAK else 1)
    s = spanhound("--pid", h.pid, "-f", "p_hot", "-f", "p_hot_inner", "--link", link, "--end", end)
    h.go()
    out = h.stop_by_itself()
    r = s.stop(status=None)
    assert out["bad"] == 0
    # Both functions once per turn, all of them entered after the probes were live.
    assert r.summary["seen"] == 2 * out["calls"]
    assert r.summary["exported"] == len(r.spans)


def test_small_queue_counts_what_it_drops(spanhound, hot, tmp_path):
    """The loss is in the summary under its reason."""
    config = harness.write(tmp_path, "small.yaml",
                           "probes:\n  - function: p_hot\n    args: {currency: {at: 3, type: string}}\nlimits: {ring_size: 65536}\n")
    h = hot(4, 0, 1)
    s = spanhound("--pid", h.pid, "-c", config)
    h.go()
    out = h.stop_by_itself()
    r = s.stop(status=None)
    assert r.summary["seen"] == out["calls"]
    assert set(r.dropped) <= {"ring_full", "queue_full", "trace_limit"}


@pytest.mark.timeout(120)
def test_sustained_rate_without_loss(spanhound, hot):
    """A rate this machine can take: not one record lost."""
    h = hot(1, 20000, 5)
    s = spanhound("--pid", h.pid, "-f", "p_hot")
    h.go()
    out = h.stop_by_itself()
    r = s.stop()
    assert r.summary["seen"] == out["calls"] == r.summary["exported"]


def test_limits_of_the_trace_table(spanhound, program, tmp_path):
    config = harness.write(tmp_path, "limits.yaml", "probes:\n  - function: p_*\nlimits: {max_traces: 4, max_spans: 40}\n")
    p = program("calls", "threads", "64")
    s = spanhound("--pid", p.pid, "-c", config)
    p.run()
    r = s.stop(status=None)
    assert p.status == 0
    assert r.summary["seen"] == len(p.calls)
    assert set(r.dropped) <= {"trace_limit", "ring_full", "queue_full"}


@pytest.mark.soak
@pytest.mark.timeout(400)
def test_soak(spanhound, hot):
    """Minutes under overload; memory does not grow after the warm-up."""
    h = hot(4, 0, 180)
    s = spanhound("--pid", h.pid, "-f", "p_hot*", "--export", "json:/dev/null", export=False)
    h.go()

    time.sleep(30)
    warm = harness.resident_kib(s.pid)
    out = h.stop_by_itself(400)
    assert harness.resident_kib(s.pid) < warm * 1.2 + 4096
    r = s.stop(status=None)
    assert r.summary["seen"] == 2 * out["calls"], json.dumps(r.summary)
