# SPDX-License-Identifier: Apache-2.0
"""Trace context in headers: spanhound and ddtrace read the same requests and must make the same of them, and write the same
headers into what those requests send on. Thousands of requests, right ones and broken ones, under every setting."""
import glob
import json
import os
import random
import subprocess
import sys

import pytest

from harness import OUTPUT, target_environment

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "propagation")
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
CASES = int(os.environ.get("SPANHOUND_PROPAGATION_CASES", "300"))

SETTINGS = {
    "defaults": {},
    "first": {"DD_TRACE_PROPAGATION_EXTRACT_FIRST": "true"},
    "restart": {"DD_TRACE_PROPAGATION_BEHAVIOR_EXTRACT": "restart"},
    "restart_first": {"DD_TRACE_PROPAGATION_BEHAVIOR_EXTRACT": "Restart", "DD_TRACE_PROPAGATION_EXTRACT_FIRST": "1"},
    "ignore": {"DD_TRACE_PROPAGATION_BEHAVIOR_EXTRACT": "ignore"},
    "unknown_behavior": {"DD_TRACE_PROPAGATION_BEHAVIOR_EXTRACT": "maybe"},
    "all": {"DD_TRACE_PROPAGATION_STYLE": "datadog,tracecontext,b3multi,b3,baggage"},
    "all_reversed": {"DD_TRACE_PROPAGATION_STYLE": " baggage , B3, b3multi,tracecontext ,Datadog"},
    "w3c_first": {"DD_TRACE_PROPAGATION_STYLE_EXTRACT": "tracecontext,datadog",
                  "DD_TRACE_PROPAGATION_STYLE_INJECT": "tracecontext"},
    "b3_datadog": {"DD_TRACE_PROPAGATION_STYLE_EXTRACT": "b3,b3multi,tracecontext,datadog",
                   "DD_TRACE_PROPAGATION_STYLE_INJECT": "b3,b3multi"},
    "datadog_only": {"DD_TRACE_PROPAGATION_STYLE": "datadog"},
    "inject_over_style": {"DD_TRACE_PROPAGATION_STYLE": "b3", "DD_TRACE_PROPAGATION_STYLE_INJECT": "datadog"},
    "none": {"DD_TRACE_PROPAGATION_STYLE": "none"},
    "unknown_style": {"DD_TRACE_PROPAGATION_STYLE": "jaeger,datadog, none,tracecontext"},
    "otel": {"OTEL_PROPAGATORS": "b3,tracecontext"},
    "otel_unknown": {"OTEL_PROPAGATORS": "xray,jaeger"},
    "otel_some_unknown": {"OTEL_PROPAGATORS": "xray,b3multi"},
    "otel_none": {"OTEL_PROPAGATORS": "none"},
    "otel_last": {"OTEL_PROPAGATORS": "b3", "DD_TRACE_PROPAGATION_STYLE_EXTRACT": "tracecontext"},
    "empty": {"DD_TRACE_PROPAGATION_STYLE": "", "DD_TRACE_PROPAGATION_STYLE_INJECT": "b3"},
    "empty_extract": {"DD_TRACE_PROPAGATION_STYLE": "b3", "DD_TRACE_PROPAGATION_STYLE_EXTRACT": ""},
    "bad_tags": {"DD_TRACE_BAGGAGE_TAG_KEYS": " "},
    "baggage_only": {"DD_TRACE_PROPAGATION_STYLE": "baggage", "DD_TRACE_BAGGAGE_TAG_KEYS": "*"},
    "baggage_first": {"DD_TRACE_PROPAGATION_STYLE": "baggage,datadog", "DD_TRACE_PROPAGATION_EXTRACT_FIRST": "true",
                      "DD_TRACE_BAGGAGE_TAG_KEYS": "k, user.id,,k"},
    "no_baggage_tags": {"DD_TRACE_BAGGAGE_TAG_KEYS": ""},
    "short_tags": {"DD_TRACE_X_DATADOG_TAGS_MAX_LENGTH": "30"},
    "no_tags": {"DD_TRACE_X_DATADOG_TAGS_MAX_LENGTH": "0"},
    "negative_tags": {"DD_TRACE_X_DATADOG_TAGS_MAX_LENGTH": "-4"},
    "64_bits": {"DD_TRACE_128_BIT_TRACEID_GENERATION_ENABLED": "false"},
}


@pytest.fixture(scope="session")
def peer(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("propagation") / "peer")
    sources = [f for d in ("trace/propagation", "base") for f in glob.glob(os.path.join(ROOT, "userspace", d, "*.c"))]
    subprocess.run(["gcc", "-std=gnu11", "-O1", "-g", "-D_GNU_SOURCE", "-fsanitize=address,undefined",
                    "-fno-sanitize-recover=undefined", f"-I{ROOT}/include", f"-I{ROOT}/userspace", "-o", path,
                    os.path.join(HERE, "peer.c"), *sources, "-lm", "-lseccomp"], check=True)
    return path


# --- requests --------------------------------------------------------------------------------------------------------

IDS = ["1", "2", "5", "1234567890123456789", "18446744073709551615"]
HEX_IDS = ["0000000000000001", "0000000000000005", "00f067aa0ba902b7", "ffffffffffffffff", "112210f47de98115"]
HIGH = ["0000000000000000", "640cfd8d00000000", "4bf92f3577b34da6", "ffffffffffffffff"]
BAD_NUMBERS = ["", "0", "-1", "-0", "+5", " 5", "5 ", "\t5", "0x5", "5_0", "_5", "5_", "5__0", "5.0", "5a", "00005", "1e3", "NaN",
               "18446744073709551616", "99999999999999999999", "5,5", "5, 5", "\xb2", "é", "5\x00", "5\x1c", "- 5", "+-5", "++5",
               "0_5", "1" * 400]
BAD_HEX = ["", "0", "00", "-1", "0x5", "0X1f", "0x_5", "0x", "_5", "f_f", "F00D", "xyz", " 5", "5 ", "0" * 16, "0" * 32, "f" * 32,
           "-", "é", "0b1", "+5", "1" * 40]
PRIORITIES = ["1", "2", "0", "-1", "-3", "9", "128", "1000", "2147483647", "2147483648", "-2147483648", "99999999999999"]
ORIGINS = ["rum", "synthetics", "synthetics~;=web,z", "", " a ", "é", "a=b", "o:p", "x" * 300, "a\x7f", "a\x01b", "lambda,rum"]
TAGS = ["_dd.p.dm=-4", "_dd.p.dm=-0", "_dd.p.dm=-12", "_dd.p.dm=-255", "_dd.p.dm=-256", "_dd.p.dm=4", "_dd.p.dm=--4", "_dd.p.dm=-04",
        "_dd.p.dm=-a", "_dd.p.dm=-1 ", "_dd.p.usr.id=baz64==", "_dd.p.usr.id=a~b;c", "_dd.p.tid=640cfd8d00000000",
        "_dd.p.tid=4bf92f3577b34da6", "_dd.p.tid=0000000000000000", "_dd.p.tid=640CFD8D00000000", "_dd.p.tid=640cfd8d",
        "_dd.p.tid=640cfd8d0000000g", "_dd.p.tid=640cfd8d000000000", "_dd.p.ts=02", "_dd.p.ksr=0.0001", "_dd.p.x=a=b", "_dd.p.=x",
        "_dd.p.upstream_services=x", "other=1", "_dd.p.x= a  b ", "_dd.p.x=", "_dd.p.x", "=x", "", " ", "a b=c", " _dd.p.x=1",
        "_dd.p.x=\t", "_dd.p.x=é", "é=x", "_dd.p.a;b=c", "_dd.p._dd.p.x=y", "_dd.p.x=http://localhost", "_dd.p.a~b=c",
        "_dd.p.long=" + "v" * 90, "_dd.p.longer=" + "w" * 200, "_dd.p.x=~;:", "_dd.p.y=1", "_dd.p.z=2", "_dd.p.Ab=C"]
DD_ITEMS = ["s:1", "s:2", "s:0", "s:-1", "s:-3", "s:9", "s:x", "s:", "s: 1", "s:1_0", "s:+1", "s:5000000000", "o:rum", "o:synthetics", "o:a~b",
            "o:", "o:x y", "p:00f067aa0ba902b7", "p:zz", "p:XX!X", "p:", "p:0", "t.dm:-4", "t.dm:-400", "t.dm:", "t.usr.id:baz64~~",
            "t.tid:640cfd8d00000000", "t.tid:x", "t.x:", "t.:", "t.", "t", "", "t.url:http://localhost", "t.a=b:c=d", "t.long:" + "v" * 100,
            "t.longer:" + "w" * 210, "x:y", ":", ":v", "s", "S:2", "t.x: y ", "t.sp ace:1", "t.~:~", "t._dd.p.x:q", "t.y:1", "t.dm:-4"]
OT = ["rv:a1d034b053bc62;th:8", "th:8;rv:a1d034b053bc62", "th:c", "rv:a1d034b053bc6", "rv:A1d034b053bc62;th:8", "th:123456789abcdef", "", "x:y", "x;th:0",
      "th:0;;x:y;rv", "rv;th", "th:8;th:4", "rv:a1d034b053bc62;x:" + "y" * 300, "rvx:1;thx:2", "th:8;x:" + "y" * 230 + ";z:1"]
FOREIGN = ["congo=t61rcWkgMzE", "rojo=00f067aa0ba902b7", "a=1", "b", "=", "xdd=1", "add=s:1", "foo@bar=baz", "l=" + "x" * 126, "m=" + "x" * 127,
           "n=" + "x" * 200, "long=" + "y" * 400, " ", "", "\t", "é=1", "u=\x7f", "sp=a b", "dd", "ddx=1", "ot", "o=t", "u=\x1f", "w=\u2603" * 30]
BAGGAGE = ["user.id=alice", "account.id=12", "session.id=s%20x", "k=v", "region=eu%20west", "a=%ff", "b=%e2%82", "c=%zz", "d=%C3%A9", "e=é", "f=%E2%98%83",
           "g=%F0%9F%98%80", "h=%ed%a0%80", "i=%f4%90%80%80", "j=a;p=1", " k = v ", "l=%20 x ", "m==", "n", "=o", "p=", "q=%", "r=%4", "s=%41%4", "%6b=v2",
           "user.id=bob", "t=\"x,y\"", "%20=x", "u=%0d%0aSet-Cookie:x", "v=%00", "w=é%C3é", "x=%c3%28", "y=%e0%80%80", "z=%F0%80%80%80", "k=", "aa=%25", "bb=a+b",
           "cc=" + "c" * 5000, "dd=" + "d" * 9000, "ee=%f0%9f", "ff=%f1%80%80x", "gg=\\\"", "hh=(x)<y>", "\tii\t=\tjj\t", "kk=%E2%98%83%", "ll=ü%ffü"]


def datadog(r):
    h = []
    if r.random() < 0.95:
        h.append(("x-datadog-trace-id", r.choice(IDS) if r.random() < 0.85 else r.choice(BAD_NUMBERS)))
    if r.random() < 0.92:
        h.append(("x-datadog-parent-id", r.choice(IDS) if r.random() < 0.85 else r.choice(BAD_NUMBERS)))
    if r.random() < 0.8:
        h.append(("x-datadog-sampling-priority", r.choice(PRIORITIES) if r.random() < 0.9 else r.choice(BAD_NUMBERS)))
    if r.random() < 0.3:
        h.append(("x-datadog-origin", r.choice(ORIGINS)))
    if r.random() < 0.7:
        good = TAGS[:5] + TAGS[10:14] + TAGS[19:21]
        tags = [r.choice(good) if r.random() < 0.8 else r.choice(TAGS) for _ in range(r.choice((0, 1, 2, 2, 3, 5, 9)))]
        h.append(("x-datadog-tags", ",".join(tags)))
    return h


def tracestate(r):
    members = []
    for _ in range(r.choice((0, 1, 1, 2, 3, 5, 40))):
        kind = r.random()
        if kind < 0.4:
            good = r.random() < 0.7
            members.append("dd=" + ";".join(r.choice(DD_ITEMS[:6] + DD_ITEMS[12:18] + DD_ITEMS[22:27] if good else DD_ITEMS)
                                            for _ in range(r.choice((0, 1, 2, 3, 4, 8)))))
        elif kind < 0.5:
            members.append("ot=" + r.choice(OT))
        else:
            members.append(r.choice(FOREIGN[:8] if r.random() < 0.8 else FOREIGN))
    return r.choice((",", ",", ", ", " ,\t")).join(members)


def w3c(r):
    h = []
    trace = f"{r.choice(HIGH)}{int(r.choice(IDS)):016x}"
    version, span = "00", r.choice(HEX_IDS + [f"{int(i):016x}" for i in IDS])
    flags = r.choice(("00", "01", "01", "02", "03", "ff", "80"))
    parent = f"{version}-{trace}-{span}-{flags}"
    if r.random() < 0.2:
        parent = r.choice((
            parent.upper(), parent[:-1], parent + "-", parent + "-x", parent + "x", "01" + parent[2:] + "-future", "01" + parent[2:],
            "01" + parent[2:] + "-", "01" + parent[2:] + ".x", "ff" + parent[2:], "cc" + parent[2:] + "-what-the-future-will-be-like",
            " " + parent + "\t", parent.replace("-", "_", 1), f"00-{'0' * 32}-{span}-01", f"00-{trace}-{'0' * 16}-01",
            f"00-{trace}-{span}-1", f"00-{trace}-{span}-0g", f".0-{trace}-{span}-01", f"00-{trace[1:]}-{span}-01", "", "-", "é" * 55,
            "\x1c" + parent, "01" + parent[2:] + "-é", f"{parent}, {parent}"))
    if r.random() < 0.97:
        h.append(("traceparent", parent))
    if r.random() < 0.75:
        h.append(("tracestate", tracestate(r)))
    if r.random() < 0.05:
        h.append(("tracestate", tracestate(r)))
    return h


def b3multi(r):
    h = []
    if r.random() < 0.95:
        h.append(("x-b3-traceid", r.choice(("", r.choice(HIGH))) + f"{int(r.choice(IDS)):016x}" if r.random() < 0.8 else r.choice(BAD_HEX)))
    if r.random() < 0.95:
        h.append(("x-b3-spanid", r.choice(HEX_IDS) if r.random() < 0.8 else r.choice(BAD_HEX)))
    if r.random() < 0.7:
        h.append(("x-b3-sampled", r.choice(("0", "1", "1", "d", "true", "", " 1", "2"))))
    if r.random() < 0.2:
        h.append(("x-b3-flags", r.choice(("1", "0", "", "d"))))
    return h


def b3(r):
    trace = r.choice(("", r.choice(HIGH))) + f"{int(r.choice(IDS)):016x}" if r.random() < 0.85 else r.choice(BAD_HEX)
    span = r.choice(HEX_IDS) if r.random() < 0.85 else r.choice(BAD_HEX)
    parts = [trace, span, r.choice(("0", "1", "d", "", "x", "true")), "05e3ac9a4f6e3b90", "more"]
    value = "-".join(parts[:r.choice((1, 2, 3, 3, 3, 4, 5))]) if r.random() < 0.9 else r.choice(("0", "1", "d", "", "-", "--", "é", "x"))
    return [("b3", value)]


def baggage(r):
    items = [r.choice(BAGGAGE[:11] if r.random() < 0.85 else BAGGAGE) for _ in range(r.choice((0, 1, 1, 2, 3, 6, 70)))]
    if len(items) > 60:
        items = [f"key{i}={i}" for i in range(r.choice((60, 64, 65, 80)))] + items[:r.choice((0, 1))]
    return [("baggage", ",".join(items))]


KINDS = (datadog, w3c, b3multi, b3, baggage)


def mutate(r, value):
    for _ in range(r.choice((1, 1, 2, 4))):
        at = r.randrange(len(value) + 1)
        value = value[:at] + r.choice(("", ",", "=", "-", ";", ":", " ", "0", "g", "~", "é", "\t", "_", "dd=", "%", "a")) + \
            value[at + r.choice((0, 1, 1, 3)):]
    return value


def request(r):
    headers = []
    same = r.random() < 0.5
    for make in KINDS:
        if r.random() < (0.75 if make in (datadog, w3c) else 0.35):
            headers += make(r)
    if same:  # one trace in all styles, so that they have to be merged
        trace = int(r.choice(IDS))
        high = r.choice(HIGH)
        fixed = {"x-datadog-trace-id": str(trace), "x-b3-traceid": f"{high}{trace:016x}"}
        headers = [(n, fixed.get(n, v)) for n, v in headers]
        headers = [(n, v[:3] + f"{high}{trace:016x}" + v[35:] if n == "traceparent" and len(v) >= 55 else v) for n, v in headers]
        if int(high, 16):
            headers = [(n, f"_dd.p.tid={high},{v}" if n == "x-datadog-tags" and "tid" not in v else v) for n, v in headers]
    if headers and r.random() < 0.25:
        at = r.randrange(len(headers))
        headers[at] = (headers[at][0], mutate(r, headers[at][1]))
    if headers and r.random() < 0.03:
        headers.append(r.choice(headers))
    if r.random() < 0.1:
        headers = [(n.title(), v) for n, v in headers]
    headers.append(("host", "localhost"))
    return headers


def encode(requests):
    lines = []
    for headers in requests:
        lines += [f"{name}\t{value.encode().hex()}" for name, value in headers] + [""]
    return "\n".join(lines) + "\n"


def run(command, env, text):
    p = subprocess.run(command, input=text, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    assert p.returncode == 0, p.stderr[-4000:]
    return [json.loads(line) for line in p.stdout.split("\n")[:-1]]


def compare(peer, settings, requests):
    """How many were compared in full; fails on the first few that differ."""
    env = target_environment(settings)
    env.update(DD_INSTRUMENTATION_TELEMETRY_ENABLED="false", DD_REMOTE_CONFIGURATION_ENABLED="false", DD_TRACE_STARTUP_LOGS="false")
    text = encode(requests)
    ours = run([peer], env, text)
    theirs = run([sys.executable, os.path.join(HERE, "reference.py")], env, text)
    assert len(ours) == len(theirs) == len(requests)
    differing, compared = [], 0
    for headers, mine, ref in zip(requests, ours, theirs):
        # Documented in propagation.h: ddtrace raises and loses everything; ids of more than 64 bits.
        if ref.pop("raised") | ref.pop("wide"):
            continue
        compared += 1
        if mine != ref:
            differing.append((headers, {k: (mine[k], ref[k]) for k in ref if mine[k] != ref[k]}))
    assert not differing, f"{len(differing)} of {compared} differ (ours, ddtrace's):\n" + "\n".join(map(repr, differing[:5]))
    return compared


@pytest.mark.parametrize("name", SETTINGS)
def test_as_ddtrace(peer, name):
    r = random.Random(name)
    compared = compare(peer, SETTINGS[name], [request(r) for _ in range(CASES)])
    assert compared > CASES * 0.9
