# SPDX-License-Identifier: Apache-2.0
"""Conversations of HTTP/1, byte by byte, through the user half: cut in two at every byte, cut at random, with the records of
many connections mixed. Whatever the cuts: the spans are the same. The event streams are written here as the kernel half would
write them (class Tap follows bpf/socket.bpf.c); no root, no kernel, no target."""
import json
import os
import random
import struct
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))
import harness  # noqa: E402

# include/spanhound/events.h, userspace/flow/capture.h
EV_CONN, EV_DATA, EV_CLOSE = 8, 9, 10
WRITE, START, REQUEST, END, ROOT = 1, 2, 4, 16, 64
RECORD, PASS, PROCESS, ACCOUNT = 1, 2, 4, 7
SHUT, CLOSED, SHUT_LAST = 1, 2, 3
HEAD, TAIL = 1024, 8
UNIX_MINUS_MONO = 1_700_000_000 * 10**9
TGID = {"server": 1000, "client": 2000}
METHODS = {b"GET ", b"POST", b"PUT ", b"HEAD", b"DELE", b"CONN"}


class Tap:
    """One end of one connection: what passes there, as records."""

    def __init__(self, number, end):
        self.number, self.end = number, end
        self.id = number * 2 + (end == "client")
        self.records = []
        self.cnt = self.requests = 0
        self.direction = None
        self.first, self.budget = b"", 0
        self.http = self.leaves = self.left_http = self.told = self.tunnel = self.peer_closed = False
        self.seq = {True: 1000, False: 2000} if end == "client" else {True: 2000, False: 1000}

    def tell(self, ns):
        ports = (40000 + self.number % 20000, 80)
        local, remote = ports if self.end == "client" else ports[::-1]
        net = 1 + self.number // 20000
        self.told = True
        return (struct.pack("<IHHQQIIHHHHII16s16sQQQ", 104, EV_CONN, 0, self.id, ns, TGID[self.end], TGID[self.end],
                                             2, local, remote, 0, 1, 0, bytes([192, 0, 2, net if self.end == "client" else 77]),
                                             bytes([192, 0, 2, 77 if self.end == "client" else net]), 0, 0, 0))

    def follow(self, write, data):
        """(flags, bytes copied) or None, as conn_follow()."""
        turn = self.direction != write
        requests = write == (self.end == "client")
        want = HEAD if turn else self.budget
        begins = turn or (self.http and len(self.first) == 4)
        few, look = len(data) <= TAIL, begins and (requests or len(self.first) == 4)
        copied = data[:8 if not want and (look or few) else want]
        before = self.first
        if begins:
            self.first = copied[:4]
            kind = self.kind(requests)
            if not turn and kind not in ("request", "response"):
                self.first, kind, begins = before, "other", False
            elif not turn and not want:
                want = HEAD
                copied = data[:want]
        else:
            self.first = (self.first + copied)[:4]
            kind = "other" if len(before) == 4 else self.kind(requests)
        self.direction = write
        if begins:
            want = HEAD if kind != "other" else 0
        if not few:
            copied = copied[:want]
        self.budget = max(0, want - len(copied))
        flags = (WRITE if write else 0) | (START if begins else 0)
        if kind == "request":
            self.http, self.tunnel = True, self.first == b"CONN"
            flags |= REQUEST | ROOT
        elif kind == "response":
            self.http = True
        elif not self.http and kind == "other":
            return None
        return flags, copied

    def kind(self, requests):
        if len(self.first) < 4:
            return "undecided"
        kind = "request" if self.first in METHODS else "response" if self.first == b"HTTP" else "other"
        return "other" if self.http and kind == ("response" if requests else "request") else kind

    def pass_bytes(self, write, data, ns):
        if self.leaves and (self.direction != write or not self.budget):
            self.left_http = True
        if self.left_http or not data:
            return
        followed = self.follow(write, data)
        seq = self.seq[write]
        self.seq[write] += len(data)
        if not followed:
            return
        told = [] if self.told else [self.tell(ns)]
        flags, copied = followed
        self.cnt += 1
        ids = (0, 0, 0)
        if flags & REQUEST:
            self.requests += 1
            ids = (1_700_000_000 << 32, self.id << 32 | self.requests, self.id << 32 | self.requests | 1 << 31)
        tail = data[-TAIL:] if len(copied) < len(data) and len(data) >= TAIL else b""
        size = 104 + (len(copied) + 7) // 8 * 8
        head = struct.pack("<IHHQQIIIIIIBB6xQQQQ8sQ", size, EV_DATA, flags, self.id, ns, TGID[self.end], TGID[self.end], len(data),
                           len(copied), seq, self.cnt, 0, len(tail), *ids, 0, tail, 0)
        # Who it is stands right before it, in the same ring.
        self.records.append((ns, *told, (head + copied).ljust(size, b"\0")))
        if self.first == b"HTTP" and flags & START and len(copied) >= 12 and \
                (copied[9:12] == b"101" or (self.tunnel and copied[9:10] == b"2")):
            self.leaves = True

    def closed(self, state, ns):
        self.cnt += 1
        self.records.append((ns, struct.pack("<IHHQQIIII", 40, EV_CLOSE, 0, self.id, ns, state, 0, self.cnt, 0)))

    def eof(self, ns):
        self.peer_closed = True
        if self.left_http:
            return
        self.cnt += 1
        self.records.append((ns, struct.pack("<IHHQQIIIIIIBB6xQQQQ8sQ", 104, EV_DATA, END, self.id, ns, TGID[self.end], TGID[self.end], 0,
                                             0, 0, self.cnt, 0, 0, 0, 0, 0, 0, b"", 0)))


def records_of(number, end, conversation, cuts=lambda data: [data]):
    """Records of one end; `cuts` says in which pieces each run of bytes passes."""
    tap = Tap(number, end)
    ns = 10**9 + number * 1000
    own = "c" if end == "client" else "s"
    for who, data in conversation:
        for piece in cuts(data) if data is not None else [None]:
            ns += 10**6
            if piece is not None:
                tap.pass_bytes(who == own, piece, ns)
            elif who == own:
                tap.closed(SHUT_LAST if tap.peer_closed else SHUT, ns)
            else:
                tap.eof(ns)
    tap.closed(CLOSED, ns + 10**6)
    return tap


def entry(kind, ident, body):
    body = body.ljust((len(body) + 7) // 8 * 8, b"\0")
    return struct.pack("<IIQ", len(body), kind, ident) + body


def write_capture(path, taps, per_pass=0, shuffle=None):
    """The records of all, mixed by time or as `shuffle` likes within a pass."""
    out = [b"SPANHND\0" + struct.pack("<IIq", 2, 0x01020304, UNIX_MINUS_MONO)]
    for name, tgid in TGID.items():
        texts = {"service": name, "language": "cpp", "runtime_id": f"00000000-0000-4000-8000-00000000{tgid:04d}"}
        out.append(entry(PROCESS, tgid, b"".join(k.encode() + b"\0" + v.encode() + b"\0" for k, v in texts.items())))
    records = sorted((r for t in taps for r in t.records), key=lambda r: r[0])
    per_pass = per_pass or len(records)
    for at in range(0, len(records), per_pass):
        batch = records[at:at + per_pass]
        now = max(r[0] for r in batch)
        if shuffle:
            shuffle(batch)
        out += [entry(RECORD, 0, r) for _, *records_here in batch for r in records_here]
        out.append(entry(PASS, 0, struct.pack("<Q", now)))
    out.append(entry(ACCOUNT, 0, struct.pack("<Q32Q", sum(t.requests for t in taps), *[0] * 32)))
    with open(path, "wb") as f:
        f.write(b"".join(out))


def replay(path, tmp_path):
    """The spans by connection, as far as they do not depend on the cuts."""
    spans, summary = str(tmp_path / "spans.json"), str(tmp_path / "summary.json")
    status, _, err = harness.spanhound_once("replay", path, "--export", f"json:{spans}", "--summary", f"json:{summary}")
    assert status == 0, err
    with open(summary, encoding="utf-8") as f:
        summary = json.load(f)
    harness.assert_identity(summary)
    return sorted(harness.read_spans(spans), key=lambda s: (s["start"], s["span_id"])), summary


def facts(span):
    keep = ("http.method", "http.url", "http.status_code", "http.version", "http.useragent", "error.message", "spanhound.aborted",
            "span.kind", "spanhound.truncated")
    sizes = ("http.request.content_length", "http.response.content_length")
    return (span["name"], span["resource"], span["error"], *(span["meta"].get(k) for k in keep), *(span["metrics"].get(k) for k in sizes))


def request(target, method="GET", body=b"", more=""):
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} {target} HTTP/1.1\r\nHost: h\r\nUser-Agent: u\r\n{more}{length}\r\n".encode() + body


def response(status=200, body=b"ok", more="", length=True):
    return f"HTTP/1.1 {status} R\r\n{more}{f'Content-Length: {len(body)}' + chr(13) + chr(10) if length else ''}\r\n".encode() + body


CHUNKS = b"5\r\nhello\r\n1f;a=b\r\n0123456789abcdef0123456789abcde\r\n0\r\nT: x\r\n\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"
LIKE = b"GET /not/one HTTP/1.1\r\nHost: h\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"
OK = [("s", response())]
ENDS = [("c", None), ("s", None)]
# name: (conversation, (method, path, status, request bytes, response bytes) of each span)
CONVERSATIONS = {
    "get": ([("c", request("/a"))] + OK, [("GET", "/a", 200, 0, 2)]),
    "post": ([("c", request("/a", "POST", b"body"))] + OK, [("POST", "/a", 200, 4, 2)]),
    "keepalive": ([("c", request("/a")), ("s", response(200, b"")), ("c", request("/b")), ("s", response(201, b"1")),
                   ("c", request("/c")), ("s", response(202, b"12"))],
                  [("GET", "/a", 200, 0, 0), ("GET", "/b", 201, 0, 1), ("GET", "/c", 202, 0, 2)]),
    "chunked": ([("c", request("/a", "POST", more=CHUNKED) + CHUNKS), ("s", response(200, CHUNKS, CHUNKED, False)),
                 ("c", request("/b"))] + OK, [("POST", "/a", 200, 36, 36), ("GET", "/b", 200, 0, 2)]),
    "empty": ([("c", request("/a", "HEAD")), ("s", response(200, b"", "Content-Length: 100\r\n", False)), ("c", request("/b")),
               ("s", response(204, b"", length=False)), ("c", request("/c")), ("s", response(304, b"", "Content-Length: 9\r\n", False)),
               ("c", request("/d"))] + OK,
              [("HEAD", "/a", 200, 0, 0), ("GET", "/b", 204, 0, 0), ("GET", "/c", 304, 0, 0), ("GET", "/d", 200, 0, 2)]),
    "interim": ([("c", request("/a")), ("s", b"HTTP/1.1 102 P\r\n\r\n"), ("s", b"HTTP/1.1 103 E\r\nLink: x\r\n\r\n" + response())],
                [("GET", "/a", 200, 0, 2)]),
    "continue": ([("c", request("/a", "PUT", more="Expect: 100-continue\r\nContent-Length: 4\r\n")),
                  ("s", b"HTTP/1.1 100 Continue\r\n\r\n"), ("c", b"body"), ("s", response(201))], [("PUT", "/a", 201, 4, 2)]),
    "until close": ([("c", request("/a")), ("s", response(200, b"until the end", length=False)), ("s", None), ("c", None)],
                    [("GET", "/a", 200, 0, 13)]),
    "half close": ([("c", request("/a", "POST", b"x")), ("c", None)] + OK + [("s", None)], [("POST", "/a", 200, 1, 2)]),
    "upgrade": ([("c", request("/a", more="Upgrade: websocket\r\nConnection: upgrade\r\n")),
                 ("s", b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n"), ("c", b"\x81\x05GET /"), ("s", request("/in"))],
                [("GET", "/a", 101, 0, None)]),
    "connect": ([("c", b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n"), ("s", b"HTTP/1.1 200 C\r\n\r\n"), ("c", request("/in")),
                 ("s", response(404))], [("CONNECT", None, 200, 0, None)]),
    "old": ([("c", b"GET /a HTTP/1.0\r\n\r\n"), ("s", b"HTTP/1.0 200 OK\r\n\r\nold"), ("s", None), ("c", None)],
            [("GET", "/a", 200, 0, 3)]),
    "lookalike": ([("c", request("/a", "POST", LIKE)), ("s", response(200, LIKE)), ("c", request("/b"))] + OK,
                  [("POST", "/a", 200, len(LIKE), len(LIKE)), ("GET", "/b", 200, 0, 2)]),
    "early": ([("c", request("/a", "POST", b"0123456789")[:-5]), ("s", response(413, b"no")), ("c", b"56789")],
              [("POST", "/a", 413, None, 2)]),
    "aborted": ([("c", request("/a")), ("c", None), ("s", None)], [("GET", "/a", None, 0, None)]),
    "cut": ([("c", request("/a")), ("s", response(200, b"0123456789")[:-4]), ("s", None), ("c", None)], [("GET", "/a", 200, 0, 6)]),
}
PIPELINED = [("c", request("/a") + request("/b", "POST", b"xyz") + request("/c")), ("s", response(200, b"1") + response(201, b"22")),
             ("s", response(202, b"333"))]
PIPELINED_SPANS = [("GET", "/a", 200, 0, 1), ("POST", "/b", 201, 3, 2), ("GET", "/c", 202, 0, 3)]
CONVERSATIONS["pipelined"] = (PIPELINED, PIPELINED_SPANS)


def whole(name):
    conversation, _ = CONVERSATIONS[name]
    return conversation if any(data is None for _, data in conversation) else conversation + ENDS


def cut_at(at):
    """The conversation's byte `at` begins a piece of its own."""
    passed = [0]

    def cuts(data):
        here, passed[0] = at - passed[0], passed[0] + len(data)
        return [data[:here], data[here:]] if 0 < here < len(data) else [data]
    return cuts


def cut_at_random(rng):
    def cuts(data):
        places = sorted(rng.sample(range(1, len(data)), min(len(data) - 1, rng.choice((0, 1, 2, 5, len(data) - 1))))) if len(data) > 1 else []
        return [data[a:b] for a, b in zip([0, *places], [*places, len(data)])]
    return cuts


def by_connection(spans):
    """Facts of the spans of each connection, known by their ids: a request that the kernel half did not see begin, behind
    another one, has ids of its own, and is told by the order of its start."""
    found = {}
    for s in sorted(spans, key=lambda s: (s["start"], s["meta"].get("http.url", ""))):
        found.setdefault((s["service"], port_of(s)), []).append(facts(s))
    return found


def port_of(span):
    return span["meta"]["http.url"].split("conn=")[1].split("&")[0] if "conn=" in span["meta"].get("http.url", "") else None


def marked(conversation, number):
    """With the connection's number in each target, of the same length for all of them."""
    return [(who, data if data is None else data.replace(b"/a ", b"/a?conn=%06d " % number).replace(b"/b ", b"/b?conn=%06d " % number)
             .replace(b"/c ", b"/c?conn=%06d " % number).replace(b"/d ", b"/d?conn=%06d " % number)) for who, data in conversation]


def unmarked(fact):
    return tuple(x.split("?conn=")[0] if isinstance(x, str) else x for x in fact)


def check_facts(spans, name, where):
    want = CONVERSATIONS[name][1]
    got = [unmarked(f) for f in spans]
    assert len(got) == len(want), f"{where}: {got}"
    for fact, (method, path, status, request_sz, response_sz) in zip(got, want):
        assert fact[3] == method and (path is None or fact[4].endswith(path)), f"{where}: {fact}"
        assert fact[5] == (str(status) if status else None), f"{where}: {fact}"
        assert request_sz is None or fact[-2] == request_sz, f"{where}: {fact}"
        assert response_sz is None or fact[-1] == response_sz, f"{where}: {fact}"


@pytest.mark.parametrize("end", ["server", "client"])
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_cut_at_every_byte(name, end, tmp_path):
    taps, total = [], sum(len(d) for _, d in marked(whole(name), 0) if d)
    for at in range(total):
        taps.append(records_of(at, end, marked(whole(name), at), cut_at(at)))
    path = tmp_path / "cuts.capture"
    write_capture(path, taps)
    spans, summary = replay(path, tmp_path)
    assert set(k for k, v in summary["dropped"].items() if v) <= {"not_http"}, summary["dropped"]
    if name == "connect":
        assert len(spans) == total and len({facts(s) for s in spans}) == 1
        return
    found = by_connection(spans)
    assert len(found) == total
    reference = [unmarked(f) for f in found[end, "000000"]]
    for at in range(total):
        got = found[end, f"{at:06d}"]
        check_facts(got, name, f"{name}, cut at byte {at}")
        assert [unmarked(f) for f in got] == reference, f"{name}, cut at byte {at}"


@pytest.mark.parametrize("seed", range(8))
def test_mixed_at_random(seed, tmp_path):
    """Connections of all kinds, both ends, cut anywhere, their records mixed; in half of the runs out of order within a pass,
    as rings of several processors give them."""
    rng = random.Random(seed)
    names = [n for n in CONVERSATIONS if n != "connect"]
    taps, what = [], {}
    for number in range(150):
        name = rng.choice(names)
        what[f"{number:06d}"] = name
        for end in ("server", "client"):
            taps.append(records_of(number, end, marked(whole(name), number), cut_at_random(rng)))
    path = tmp_path / "mixed.capture"
    write_capture(path, taps, rng.choice((0, 20, 200)), rng.shuffle if seed % 2 else None)
    spans, summary = replay(path, tmp_path)
    assert set(k for k, v in summary["dropped"].items() if v) <= {"not_http"}, summary["dropped"]
    found = by_connection(spans)
    assert len(found) == 300
    for (end, number), got in found.items():
        check_facts(got, what[number], f"seed {seed}, {what[number]}, {end} of connection {number}")
