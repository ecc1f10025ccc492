# SPDX-License-Identifier: Apache-2.0
"""Many requests of each client: every one arrives as it was sent, with headers or counted under a reason, and the headers are those
of the spans. SPANHOUND_INJECT_REQUESTS= and _BYTES= say how many (SPANHOUND_SOAK=1), each a million and 10^10."""
import array
import json
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import asking
import harness
from harness import PATIENCE_S

REQUESTS = int(os.environ.get("SPANHOUND_INJECT_REQUESTS", "1000000"))
BYTES = int(os.environ.get("SPANHOUND_INJECT_BYTES", "10000000000"))
SMALL = (0, 2000)
LARGE = (1_000_000, 200_000)
ASKERS = {"curl": asking.curl, "nginx": asking.nginx, "python": asking.python, "node": asking.node, "go": asking.go, "java": asking.java}
# Who asks how much there is to be read gets no header otherwise, on kernels that answer that wrongly.
VERDICT = ("nginx", "java")
PROCESSES = {"nginx": 16, "curl": 1, "python": 2}


class Ledger:
    """programs/ledger: its port, and in the end its books."""

    def __init__(self, background, tmp):
        self.ids_path = os.path.join(tmp, "ids")
        self.process = background(harness.program_path("o2", "ledger"), "serve", self.ids_path, stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def close(self):
        out, _ = self.process.communicate(timeout=PATIENCE_S)
        return json.loads(out)

    def pairs(self):
        """(lower half of the trace id, span id) of each request that had some."""
        ids = array.array("Q")
        with open(self.ids_path, "rb") as f:
            ids.frombytes(f.read())
        return list(zip(ids[::2], ids[1::2]))


def summary_of(s):
    """Ends it, without its spans in memory: they are too many."""
    s.process.send_signal(signal.SIGINT)
    assert s.wait_exit(10 * PATIENCE_S) == 0, s.stderr
    with open(s.summary_path, encoding="utf-8") as f:
        summary = json.load(f)
    harness.assert_identity(summary)
    return summary


def client_pairs(path):
    with open(path, encoding="utf-8") as f:
        for line in f:
            span = json.loads(line)
            if span["meta"]["span.kind"] == "client":
                yield span["trace_id"], span["span_id"]


def begin(tmp, names, port, *args):
    """One of each, but of those that are not here."""
    made = {}
    for name in names:
        folder = os.path.join(tmp, name)
        os.mkdir(folder)
        try:
            made[name] = ASKERS[name](folder, port, args[0], PROCESSES.get(name, 8), *args[1:])
        except pytest.skip.Exception:
            if len(names) == 1:
                raise
    return made


def targets(tmp, askers):
    return harness.write(tmp, "targets.yaml", "targets:\n" + "".join(
        f"- {{pid: {pid}, propagation: {{inject: {'verdict' if name in VERDICT else 'auto'}}}}}\n"
        for name, a in askers.items() for pid in a.pids))


def check(spanhound, background, tmp, names, cnt, sizes):
    ledger = Ledger(background, tmp)
    askers = begin(tmp, names, ledger.port, cnt, *sizes)
    try:
        s = spanhound("-c", targets(tmp, askers))
        start = time.monotonic()
        with ThreadPoolExecutor(len(askers)) as pool:
            for done in [pool.submit(a.run, timeout=max(PATIENCE_S, cnt // 100)) for a in askers.values()]:
                done.result()
        took = time.monotonic() - start
        summary = summary_of(s)
    finally:
        for a in askers.values():
            a.end()
    book, inject, cnt = ledger.close(), summary["inject"], cnt * len(askers)
    if not inject["on"]:
        pytest.skip(inject["why_not"])
    print(f"\n{', '.join(askers)}: {took:.0f} s, {cnt / took:.0f} requests/s; {book}; {inject['reasons']}; seen {summary['seen']}, "
          f"dropped {summary['dropped']}")
    assert book["requests"] == cnt and not book["wrong"] + book["bad"] + book["cut"]
    assert book["with"] == inject["reasons"].get("done", 0) and book["with"] + book["without"] == cnt
    assert sum(inject["reasons"].values()) == cnt
    pairs = ledger.pairs()
    assert len(pairs) == book["with"] and len({span for _, span in pairs}) == len(pairs)
    # The headers name the spans, and all of them: what is missing was lost, and is counted.
    spans, known = list(client_pairs(s.spans_path)), set(pairs)
    os.remove(s.spans_path)
    assert len(known & set(spans)) >= len(spans) - book["without"]
    assert cnt - len(spans) <= sum(summary["dropped"].values())
    return book, inject, cnt


def test_some(spanhound, background, tmp_path):
    """Beside each other. (Python and Go: test_inject.py, test_inject_golang.py.)"""
    book, inject, cnt = check(spanhound, background, str(tmp_path), ["curl", "nginx", "node", "java"], 200, SMALL)
    assert inject["reasons"] == {"done": cnt} and book["with"] == cnt


@pytest.mark.soak
@pytest.mark.alone
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", ASKERS)
def test_many(spanhound, background, tmp_path, name):
    book, inject, _ = check(spanhound, background, str(tmp_path), [name], REQUESTS, SMALL)
    assert book["with"] >= REQUESTS * 0.999, inject["reasons"]


@pytest.mark.soak
@pytest.mark.alone
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ASKERS)
def test_large(spanhound, background, tmp_path, name):
    """Bodies of a megabyte, both ways."""
    book, _, _ = check(spanhound, background, str(tmp_path), [name], BYTES // len(ASKERS) // 2_000_000 + 1, LARGE)
    assert book["request_bytes"] + book["answer_bytes"] >= BYTES / len(ASKERS)
