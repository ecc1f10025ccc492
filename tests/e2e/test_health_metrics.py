# SPDX-License-Identifier: Apache-2.0
"""Metrics about ourselves, at a real UDP socket."""
import os
import socket

import harness


def test_health_metrics(spanhound, program):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        p = program("calls", "nested")
        s = spanhound("--pid", p.pid, "-f", "p_*",
                      env={"DD_TRACE_HEALTH_METRICS_ENABLED": "true",
                           "DD_DOGSTATSD_URL": f"udp://127.0.0.1:{server.getsockname()[1]}"})
        p.run()
        r = s.stop()
        said = server.recv(65536).decode().split("\n")
    assert f"datadog.tracer.spans_finished:{r.summary['seen']}|c" in said
    assert "datadog.tracer.queue.length:0|g" in said and "datadog.tracer.heartbeat:1|g" in said
    assert not [x for x in said if "spans_dropped" in x]


def test_bad_url():
    status, _, err = harness.spanhound_once("attach", "--pid", os.getpid(), "-f", "main", env={
        "DD_TRACE_HEALTH_METRICS_ENABLED": "1", "DD_DOGSTATSD_URL": "localhost:8125"})
    assert status != 0
    assert "'localhost:8125' is not the URL of a DogStatsD server" in err
