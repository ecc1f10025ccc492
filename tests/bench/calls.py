# SPDX-License-Identifier: Apache-2.0
"""What a probed call costs the traced thread, beside an empty program at the same site and beside bpftrace."""
import shutil

from harness import Bpftrace, Empty, Figure, Spanhound, Target, interleave

ROUNDS = 1500
CALLS = 300

PROBES = """
probes:
  - function: call_span
  - function: call_values
    args:
      a: {at: 1, type: i64}
      b: {at: 2, type: i64}
      text: {at: 3, type: string(16)}
  - function: call_when
    args: {a: {at: 1, type: i64}}
    when: a < 0
"""


def ns(series):
    return f"{series.least:.0f} ns (10 %: {series.tenth:.0f}, median {series.median:.0f})"


def ratio(a, b):
    """Of the least, and beside it of the tenths and medians."""
    return a.tenth / b.tenth, f"{a.least / b.least:.2f} least, {a.tenth / b.tenth:.2f} tenth, {a.median / b.median:.2f} median"


def compare(name, a, b, limit, series):
    value, all_of_it = ratio(series[a], series[b])
    return Figure(name, f"{value:.2f} x", f"<= {limit:.2f} x", value <= limit,
                  [f"ratio of {all_of_it}", f"{a} {ns(series[a])}; {b} {ns(series[b])}"])


def beside_empty(bench, quick=False):
    """Rows 1, 2 and 7: all attached at once, each to a function of its own."""
    config = bench.file("calls.yaml", PROBES)
    with Target(bench) as target:
        sites = {f: target.sites(f) for f in ("call_empty", "call_entry", "call_symbol")}
        with Empty(bench, "session", sites["call_empty"][1]), Empty(bench, "entry", sites["call_entry"][1]), \
                Empty(bench, "session", sites["call_symbol"][0]):
            spanhound = Spanhound(bench, "-p", target.pid, "-c", config, "-e", "json:/dev/null")
            try:
                functions = ("call_bare", "call_empty", "call_entry", "call_span", "call_values", "call_when")
                series = interleave(target, functions, ROUNDS // (10 if quick else 1), CALLS)
                series.update(interleave(target, ("call_symbol",), 10, CALLS))
            finally:
                summary = spanhound.stop()
    figures = [
        compare("entry+return with a span record / empty session program there", "call_span", "call_empty", 1.25, series),
        compare("... with two integers and a string of 16 bytes", "call_values", "call_empty", 1.40, series),
    ]
    when = series["call_when"].tenth - series["call_entry"].tenth
    figures.append(Figure("`when:` false - empty probe at the entry there", f"{when:+.0f} ns", "<= +60 ns", when <= 60,
                          [f"call_when {ns(series['call_when'])}; call_entry {ns(series['call_entry'])}"]))
    symbol = series["call_symbol"].tenth / series["call_span"].tenth
    figures.append(Figure("empty session program at the symbol (endbr64) / span record at the push", f"{symbol:.1f} x",
                          ">= 5 x", symbol >= 5, [f"call_symbol {ns(series['call_symbol'])}",
                                                  f"a call without probe: {ns(series['call_bare'])}"]))
    drops = {k: v for k, v in summary["dropped"].items() if k != "when"}
    figures[0].notes.append(f"seen {summary['seen']}, exported {summary['exported']}, unaccounted {summary['unaccounted']}, "
                            f"dropped (but for when) {drops or 0}")
    return figures


TIMING = """uprobe:%(path)s:%(function)s { @start[tid] = nsecs; }
uretprobe:%(path)s:%(function)s /@start[tid]/ { %(say)s delete(@start[tid]); }"""
PRINTING = 'printf("%d\\n", nsecs - @start[tid]);'
COUNTING = "@us = hist(nsecs - @start[tid]);"


def beside_bpftrace(bench, quick=False):
    """Row 2: bpftrace times one function, spanhound another, in turn."""
    if not shutil.which("bpftrace"):
        return [Figure("bpftrace timing the same function, a printf per call", "bpftrace is not installed")]
    figures = []
    config = bench.file("span.yaml", "probes:\n  - function: call_span\n")
    for what, say in (("a printf per call", PRINTING), ("a histogram in the kernel", COUNTING)):
        with Target(bench) as target:
            script = TIMING % {"path": target.path, "function": "call_other", "say": say}
            spanhound = Spanhound(bench, "-p", target.pid, "-c", config, "-e", "json:/dev/null")
            try:
                with Bpftrace(script):
                    series = interleave(target, ("call_other", "call_span"), 20 if quick else 150, 100, rest_s=0.02)
            finally:
                spanhound.stop()
        value = series["call_other"].tenth / series["call_span"].tenth
        figures.append(Figure(f"bpftrace timing the same function, {what} / span record", f"{value:.1f} x", ">= 5 x",
                              value >= 5, [f"bpftrace {ns(series['call_other'])}; spanhound {ns(series['call_span'])}"]))
    return figures
