# SPDX-License-Identifier: Apache-2.0
"""nginx's own access log as the second witness: request by request, its method, URI, status, bytes and time are those of the
span."""
import http.client
import random
import threading

import pytest

import harness
import web
from harness import SOAK
from test_http import PROXY, UPSTREAM, attach, needs, servers  # noqa: F401 (a fixture)
from web import kind, path_of

pytestmark = pytest.mark.alone

REQUESTS = 100_000 if SOAK else 5_000
CLIENTS = 8
HTTP = "log_format w '$request_method $request_uri $status $bytes_sent $body_bytes_sent $request_time $request_length';"
SERVER = """access_log {dir}/witness.log w; root {dir}; client_max_body_size 50k;
location /return {{ return 200 "hello"; }}
location /empty {{ return 204; }}
location /error {{ return 503 "no"; }}
location /moved {{ return 301 /return; }}
location /up {{ proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; }}
location /slow {{ limit_rate 2m; }}
"""


def one_client(port, number, cnt, failures):
    """Mixed requests, in an order of its own, some on connections of their own. The path is unique."""
    r = random.Random(number)
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        for i in range(cnt):
            method, path, body = r.choice((
                ("GET", "/return/{}", None), ("GET", "/empty/{}", None), ("GET", "/error/{}", None), ("GET", "/none/{}", None),
                ("HEAD", "/return/{}", None), ("GET", "/small.bin?{}", None), ("HEAD", "/large.bin?{}", None),
                ("GET", "/large.bin?{}", None), ("POST", "/up/{}", b"b" * r.randrange(20000)), ("GET", "/up/{}", None),
                ("POST", "/up/{}", b"b" * 60000), ("DELETE", "/return/{}", None), ("GET", "/moved/{}", None),
            ))
            headers = {"Connection": "close"} if r.random() < 0.05 else {}
            c.request(method, path.format(f"{number}x{i}"), body, headers)
            c.getresponse().read()
            if headers:
                c.close()
    except Exception as e:  # told by the test
        failures.append(f"client {number}: {e!r}")
    c.close()


@pytest.mark.timeout(900)
def test_spans_are_what_the_access_log_says(spanhound, servers, tmp_path):  # noqa: F811
    needs("nginx")
    harness.write(tmp_path, "small.bin", "s" * 777)
    harness.write(tmp_path, "large.bin", "l" * 200_000)
    origin = servers(web.nginx, 'location / { return 200 "origin says"; }')
    n = servers(web.nginx, SERVER.format(dir=tmp_path), HTTP + UPSTREAM.format(port=origin.port))
    s = attach(spanhound, n)
    failures = []
    threads = [threading.Thread(target=one_client, args=(n.port, i, REQUESTS // CLIENTS, failures)) for i in range(CLIENTS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures, failures
    result = s.stop(timeout=300)
    n.stop()  # its log is whole now
    assert not result.dropped, result.dropped
    log = {}
    with open(tmp_path / "witness.log", encoding="utf-8") as f:
        for line in f:
            method, uri, status, sent, body, seconds, length = line.split()
            log[method, uri] = int(status), int(body), float(seconds), int(length), int(sent)
    spans = {(x["meta"]["http.method"], path_of(x)): x for x in result.spans if kind(x) == "server"}
    assert len(log) == REQUESTS // CLIENTS * CLIENTS
    assert set(log) == set(spans), (set(log) ^ set(spans))
    assert len(spans) == sum(kind(x) == "server" for x in result.spans)
    late, wrong = 0, []
    for key, (status, body, seconds, _, _) in log.items():
        x = spans[key]
        got = int(x["meta"]["http.status_code"]), x["metrics"]["http.response.content_length"]
        if got != (status, body):
            wrong.append((key, got, (status, body)))
        # nginx counts whole milliseconds of a clock that it sets once per turn of its loop: it may be behind by a turn.
        late += abs(x["duration"] / 1e9 - seconds) > 0.010
    assert not wrong, (len(wrong), wrong[:5])
    assert late <= len(log) * 0.01, f"{late} of {len(log)} durations differ by more than 10 ms"
    ups = [x for x in result.spans if kind(x) == "client"]
    fronts = {x["span_id"]: x for x in spans.values()}
    assert len(ups) == sum(uri.startswith("/up/") and status == 200 for (_, uri), (status, *_) in log.items())
    for x in ups:
        assert path_of(fronts[x["parent_id"]]) == path_of(x)
