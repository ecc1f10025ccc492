# SPDX-License-Identifier: Apache-2.0
"""Many calls: a rate that must come through whole, and one that cannot."""
import os

from harness import Figure, Spanhound, TARGET_CPU, TRACER_CPU, Target

RATE = 300000


def account(summary):
    return (f"seen {summary['seen']} = exported {summary['exported']} + dropped {summary['dropped'] or 0}, "
            f"unaccounted {summary['unaccounted']}")


def sustained(bench, quick=False):
    seconds = 2 if quick else 10
    config = bench.file("pace.yaml", "probes:\n  - function: call_span\n")
    with Target(bench, cpus=(TARGET_CPU,)) as target:
        spanhound = Spanhound(bench, "-p", target.pid, "-c", config, "-e", "json:/dev/null", cpus=(TRACER_CPU,))
        try:
            calls, ns, right = map(int, target.ask("pace", "call_span", RATE, seconds))
        finally:
            summary = spanhound.stop()
    rate = calls * 1e9 / ns
    lost = calls - summary["exported"]
    met = lost == 0 and summary["unaccounted"] == 0 and right == 1 and rate > 0.98 * RATE
    return [Figure(f"{rate:,.0f} calls/s for {ns / 1e9:.1f} s, collector on the other core", f"{lost} lost", "0 lost", met,
                   [f"{calls} calls; {account(summary)}; consumer woken {summary['wakeups']} times"])]


def overload(bench, quick=False):
    seconds, cpus = 1 if quick else 5, os.cpu_count() or 1
    config = bench.file("loop.yaml", "probes:\n  - function: call_span\n")
    figures = []
    for threads in (1, 2 * cpus):
        with Target(bench, cpus=range(cpus)) as target:
            plain = map(int, target.ask("loop", "call_span", 0.5, threads))
            plain_calls, plain_ns, _ = plain
            spanhound = Spanhound(bench, "-p", target.pid, "-c", config, "-e", "json:/dev/null", cpus=range(cpus))
            try:
                calls, ns, right = map(int, target.ask("loop", "call_span", seconds, threads))
            finally:
                summary = spanhound.stop()
        lost = sum(summary["dropped"].values())
        exact = summary["seen"] == calls and summary["unaccounted"] == 0
        figures.append(Figure(f"overload: {threads} thread{'s' if threads > 1 else ''} without pause", "identity " +
                              ("exact" if exact else "BROKEN") + ", target " + ("right" if right else "WRONG"),
                              "exact, right", exact and right == 1,
                              [f"{plain_calls * 1e3 / plain_ns:.0f} million calls/s unprobed, {calls * 1e3 / ns:.2f} million/s "
                               f"probed, {100 * lost / calls:.0f} % lost, each under its reason", account(summary)]))
    return figures
