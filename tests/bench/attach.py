# SPDX-License-Identifier: Apache-2.0
"""Ten thousand functions: how long until they are probed, how long until they are not, what the collector takes."""
import subprocess
import time

from harness import Figure, PATIENCE_S, Spanhound

FUNCTIONS = 10000


def ten_thousand(bench, quick=False):
    rounds = []
    target = subprocess.Popen([bench.program("many")])
    try:
        time.sleep(0.2)
        for _ in range(1 if quick else 5):
            start = time.monotonic()
            spanhound = Spanhound(bench, "-p", target.pid, "-f", "many_*", "-e", "json:/dev/null", cpus=(0, 1))
            ready = time.monotonic() - start
            time.sleep(0.3)
            rss, peak = spanhound.status("VmRSS"), spanhound.status("VmHWM")
            summary = spanhound.stop()
            rounds.append((summary["resolve_ns"] + summary["attach_ns"], summary, ready, rss, peak))
        if target.poll() is not None:
            raise AssertionError("the program died of its probes")
    finally:
        target.kill()
        target.wait(PATIENCE_S)
    rounds.sort(key=lambda r: r[0])
    attach, summary, ready, rss, peak = rounds[0]
    detach = min(r[1]["detach_ns"] for r in rounds)
    rss, peak = max(r[3] for r in rounds), max(r[4] for r in rounds)
    if summary["functions"] != FUNCTIONS:
        raise AssertionError(f"{summary['functions']} functions were probed, not {FUNCTIONS}")
    return [
        Figure("10,000 functions: resolve + place + attach", f"{attach / 1e6:.0f} ms", "<= 150 ms", attach <= 150e6,
               [f"least of {len(rounds)}: resolve and place {summary['resolve_ns'] / 1e6:.0f} ms, attach "
                f"{summary['attach_ns'] / 1e6:.0f} ms by {summary['link']} link, {summary['sites']} sites",
                f"slowest {rounds[-1][0] / 1e6:.0f} ms; from the start of the command to ready {ready * 1e3:.0f} ms"]),
        Figure("10,000 functions: detach", f"{detach / 1e6:.0f} ms", "<= 200 ms", detach <= 200e6,
               [f"slowest {max(r[1]['detach_ns'] for r in rounds) / 1e6:.0f} ms"]),
        Figure("10,000 functions: the collector's memory", f"{rss / 1024:.1f} MB", "<= 24 MB", rss <= 24 * 1024,
               [f"resident; its peak, while it read symbols, {peak / 1024:.1f} MB"]),
    ]
