# SPDX-License-Identifier: Apache-2.0
"""Connections that are there already: how long until all are enrolled, and what their program notices of it."""
import os
import subprocess
import time

from harness import Figure, PATIENCE_S, Series, Spanhound, TARGET_CPU, on_cpu
from web import NGINX_PORT, nginx

CONNECTIONS = 10000
RATE = 2000


def asked_while(bench, mode, seconds):
    """The program's longest and 99th percentile wait for an answer, in ns, while spanhound attached; and the summary."""
    path = bench.file(f"inject-{mode}.yaml", f"propagation: {{inject: {mode}}}\n")
    load = subprocess.Popen([bench.program("requests"), str(NGINX_PORT), str(CONNECTIONS), str(RATE), str(seconds)],
                            stdout=subprocess.PIPE, text=True, preexec_fn=on_cpu(TARGET_CPU))
    end = time.monotonic() + PATIENCE_S
    while len(os.listdir(f"/proc/{load.pid}/fd")) < CONNECTIONS + 4:
        if load.poll() is not None or time.monotonic() > end:
            raise RuntimeError("the connections could not be opened")
        time.sleep(0.01)
    s = Spanhound(bench, "-c", path, "-p", load.pid, "-e", "json:/dev/null")
    beside = load.poll() is None
    out, _ = load.communicate(timeout=PATIENCE_S + seconds)
    summary = s.stop()
    if not beside or load.returncode:
        raise RuntimeError("the program ended before spanhound was ready")
    p99, longest = (int(x) for x in out.split()[3:5])
    return longest, p99, summary["inject"]


def enrol(bench, quick=False):
    """Plain, and with a verdict program; what the program waits is compared with an attach that enrols nothing."""
    rounds, seconds = (2, 4) if quick else (6, 5)
    longest = {k: Series() for k in ("off", "plain", "verdict")}
    p99 = {k: Series() for k in longest}
    took, left = {"plain": Series(), "verdict": Series()}, {"plain": 0, "verdict": 0}
    with nginx(bench):
        for _ in range(rounds):
            for mode in longest:
                worst, high, inject = asked_while(bench, mode, seconds)
                longest[mode].values.append(worst)
                p99[mode].values.append(high)
                if mode in took:
                    took[mode].values.append(inject["older_ns"])
                    left[mode] = max(left[mode], CONNECTIONS - inject["older"])
    ms = {mode: s.median / 1e6 for mode, s in took.items()}
    stall = max(longest[m].least - longest["off"].least for m in took) / 1e6
    return [Figure(f"{CONNECTIONS:,} existing connections: enrolled within", f"{ms['plain']:.0f} ms", "<= 1 s", ms["plain"] <= 1000 and not left["plain"],
                   [f"all of them in each round; with a verdict program {ms['verdict']:.0f} ms, {left['verdict']} of them left out at most "
                    "(bytes lay unread, or a read might wait)" if not left["plain"] else f"{left['plain']} were left out"]),
            Figure("the same: the program stopped or stalled", f"{stall:+.1f} ms", notes=[
                f"its longest wait for an answer at {RATE:,} requests/s while spanhound attached, against an attach that enrols nothing; "
                f"least of {rounds} rounds: " + ", ".join(f"{m} {s.least / 1e6:.1f} ms" for m, s in longest.items()),
                "99th percentile: " + ", ".join(f"{m} {s.least / 1e3:.0f} us" for m, s in p99.items())])]
