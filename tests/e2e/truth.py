# SPDX-License-Identifier: Apache-2.0
"""What the ground-truth programs say they did (the format is in programs/truth.h), and the comparison with spans."""
from collections import Counter, defaultdict
from dataclasses import dataclass, field


@dataclass
class Call:
    id: int
    parent: "Call | None"
    jumped: "Call | None"  # who sees only returns may take this one for the parent
    pid: int
    tid: int
    enter_ns: int
    function: str
    end_ns: int | None = None  # None: open when its thread or process ended
    how: str = "open"
    image_age_ns: int | None = None  # how long its process had run the executed program when it began
    children: list = field(default_factory=list)

    def __str__(self):
        path, c = [], self
        while c and len(path) < 6:
            path.append(c.function)
            c = c.parent
        return f"call {self.id} {'... > ' if c else ''}{' > '.join(reversed(path))} (pid {self.pid} tid {self.tid}, {self.how})"


class MalformedLog(AssertionError):
    pass


def parse(text):
    """The calls of a log, in the order they began."""
    calls, images = {}, {}
    for number, line in enumerate(text.splitlines(), 1):
        kind, *rest = line.split(" ", 7 if line.startswith("E") else 5)
        if kind == "E":
            call, parent, jumped, pid, tid, ns = map(int, rest[:6])
            if call in calls:
                raise MalformedLog(f"line {number}: call {call} begins twice")
            if parent and parent not in calls:
                raise MalformedLog(f"line {number}: parent {parent} never began")
            c = Call(call, calls.get(parent), calls.get(jumped), pid, tid, ns, rest[6])
            calls[call] = c
            if pid in images:
                c.image_age_ns = ns - images[pid]
            if c.parent:
                c.parent.children.append(c)
        elif kind == "L":
            call, pid, tid, ns = map(int, rest[:4])
            c = calls.get(call)
            if not c:
                raise MalformedLog(f"line {number}: call {call} ends but never began")
            if pid != c.pid:
                continue  # a forked child returns through a frame its parent entered
            if c.end_ns is not None:
                raise MalformedLog(f"line {number}: call {call} ends twice")
            c.end_ns, c.how = ns, rest[4]
        elif kind == "X":
            images[int(rest[0])] = int(rest[2])
        else:
            raise MalformedLog(f"line {number}: {line!r}")
    return list(calls.values())


def read(path):
    with open(path, encoding="utf-8") as f:
        return parse(f.read())


class Difference(AssertionError):
    pass


# How many functions differ is said once; the first few differences are shown.
MAX_SHOWN = 12


def span_tid(span):
    for table in ("metrics", "meta"):
        for key in ("thread.id", "thread_id"):
            if key in span.get(table, {}):
                return int(span[table][key])
    return None


def span_name(span):
    return span["resource"]


def is_unfinished(span):
    return span.get("meta", {}).get("spanhound.unfinished") == "true"


def _grouped(calls, spans):
    """{(thread, function): (calls, spans)}, each in the order they began."""
    groups = defaultdict(lambda: ([], []))
    for c in sorted(calls, key=lambda c: c.enter_ns):
        groups[(c.tid, c.function)][0].append(c)
    for s in sorted(spans, key=lambda s: s["start"]):
        groups[(span_tid(s), span_name(s))][1].append(s)
    return groups


def clock_offset(calls, spans, default):
    """Unix time of spans - monotonic time of the log, so that no call is logged before its span begins: by the calls whose
    spans are known because none is missing."""
    offsets = [s["start"] - c.enter_ns for of_calls, of_spans in _grouped(calls, spans).values()
               if len(of_calls) == len(of_spans) for c, s in zip(of_calls, of_spans)]
    return max(offsets, default=default)


def _align(short, long):
    """For each of `short` an index into `long`, ascending, so that the sum of the distances is least. Both are ascending."""
    infinite = float("inf")
    best = [0.0] * (len(long) + 1)
    choices = []
    for i, x in enumerate(short):
        row, choice = [infinite] * (len(long) + 1), [False] * (len(long) + 1)
        for j in range(i + 1, len(long) - (len(short) - i) + 2):
            take = best[j - 1] + abs(long[j - 1] - x)
            if take < row[j - 1]:
                row[j], choice[j] = take, True
            else:
                row[j] = row[j - 1]
        best = row
        choices.append(choice)
    found, j = [0] * len(short), len(long)
    for i in range(len(short) - 1, -1, -1):
        while not choices[i][j]:
            j -= 1
        j -= 1
        found[i] = j
    return found


def _pair_by_time(calls, spans, offset_ns):
    """When some have no counterpart, times decide: the log line is written within the call, soon after the span began.
    Pairs, spans without a call, calls without a span."""
    enters, starts = [c.enter_ns + offset_ns for c in calls], [s["start"] for s in spans]
    if len(spans) <= len(calls):
        found = _align(starts, enters)
        pairs = [(calls[j], s) for j, s in zip(found, spans)]
        taken = set(found)
        return pairs, [], [c for j, c in enumerate(calls) if j not in taken]
    found = _align(enters, starts)
    taken = set(found)
    return [(c, spans[j]) for j, c in zip(found, calls)], [s for j, s in enumerate(spans) if j not in taken], []


def match(calls, spans, offset_ns):
    """Pairs each span with the call it is about. (pairs, spans without a call, calls without a span)"""
    pairs, strange, missing = [], [], []
    for of_calls, of_spans in _grouped(calls, spans).values():
        if len(of_calls) == len(of_spans):
            pairs += zip(of_calls, of_spans)
            continue
        p, s, m = _pair_by_time(of_calls, of_spans, offset_ns)
        pairs += p
        strange += s
        missing += m
    return pairs, strange, missing


def _span_text(s):
    return (f"span {s['span_id']} {span_name(s)} parent {s['parent_id']} trace {s['trace_id']} tid {span_tid(s)} "
            f"start {s['start']} duration {s['duration']} error {s['error']} {s.get('meta', {})}")


def _nearest(call, span_of):
    """This call or its nearest ancestor that has a span; None: there is none."""
    while call and call.id not in span_of:
        call = call.parent
    return call


class Comparison:
    """One comparison of calls with spans; problems are gathered, so that a failure shows them together."""

    def __init__(self, calls, spans, offset_ns, other_parents=None):
        self.problems = []
        self.calls = calls
        self.spans = spans
        self.pairs, self.strange, self.missing = match(calls, spans, offset_ns)
        self.span_of = {c.id: s for c, s in self.pairs}
        self.call_of = {s["span_id"]: c for c, s in self.pairs}
        self.other_parents = other_parents or {}
        for s in self.strange:
            self.problem(f"a span that no call explains: {_span_text(s)}")
        if len({s["span_id"] for s in spans}) != len(spans):
            self.problem("span ids are not unique")

    def problem(self, text):
        self.problems.append(text)

    def expect_no_missing(self):
        for c in self.missing:
            self.problem(f"no span for {c}")
        return self

    def edges(self):
        for c, s in self.pairs:
            parents = [_nearest(c.parent, self.span_of)] + ([_nearest(c.jumped, self.span_of)] if c.jumped else [])
            by_id = {self.span_of[p.id]["span_id"] if p else 0: p for p in parents}
            if s["parent_id"] in by_id:
                parent = by_id[s["parent_id"]]
                if parent and s["trace_id"] != self.span_of[parent.id]["trace_id"]:
                    self.problem(f"{c}: not in its parent's trace: {_span_text(s)}")
                continue
            got = self.call_of.get(s["parent_id"])
            if (got.function if got else s["parent_id"]) in self.other_parents.get(c.function, ()):
                continue
            self.problem(f"{c}: parent should be {parents[0] or 'none'}, is {got or s['parent_id']}")
        return self

    def ends(self):
        for c, s in self.pairs:
            if (c.how == "open") != is_unfinished(s):
                self.problem(f"{c}: {'not' if c.how == 'open' else 'wrongly'} marked unfinished: {_span_text(s)}")
            if c.how == "exception" and not s["error"]:
                self.problem(f"{c}: left by an exception but error is 0: {_span_text(s)}")
            if c.how in ("return", "tail", "jump") and s["error"]:
                self.problem(f"{c}: returned but error is 1: {_span_text(s)}")
            # Of the other ends the program learns later than they happened.
            if c.how == "return" and s["duration"] < c.end_ns - c.enter_ns:
                self.problem(f"{c}: lasted at least {c.end_ns - c.enter_ns} ns, the span says {s['duration']}")
            if s["duration"] < 0:
                self.problem(f"{c}: negative duration: {_span_text(s)}")
        return self

    def nesting(self, slack_ns=0):
        """A finished child lies within its parent in time."""
        for c, s in self.pairs:
            p = self.call_of.get(s["parent_id"])
            if not p or p.pid != c.pid:
                continue
            parent = self.span_of[p.id]
            if s["start"] < parent["start"] - slack_ns:
                self.problem(f"{c}: begins {parent['start'] - s['start']} ns before its parent {p}")
            if s["start"] + s["duration"] > parent["start"] + parent["duration"] + slack_ns:
                over = s["start"] + s["duration"] - parent["start"] - parent["duration"]
                self.problem(f"{c}: ends {over} ns after its parent {p}")
        return self

    def check(self):
        if not self.problems:
            return
        got, want = Counter(map(span_name, self.spans)), Counter(c.function for c in self.calls)
        counts = "\n".join(f"  {name}: {want[name]} calls, {got[name]} spans"
                           for name in sorted(set(got) | set(want)) if got[name] != want[name])
        shown = "\n".join("- " + p for p in self.problems[:MAX_SHOWN])
        more = len(self.problems) - MAX_SHOWN
        raise Difference(f"{len(self.problems)} differences between {len(self.calls)} calls and {len(self.spans)} spans\n"
                         f"{shown}" + (f"\n... and {more} more" if more > 0 else "")
                         + (f"\ncounts that differ:\n{counts}" if counts else ""))


def assert_same_tree(calls, spans, offset_ns, may_miss=False, other_parents=None, nesting=True):
    """Every call has its span and every span its call, with the same parent, the same kind of end, enough duration.
    may_miss: calls without a span are not a mistake (they are returned, for the loss counters to explain).
    other_parents: {function: functions (or 0 for none) that its span may have as parent, too}."""
    c = Comparison(calls, spans, offset_ns, other_parents)
    if not may_miss:
        c.expect_no_missing()
    c.edges().ends()
    if nesting:
        c.nesting()
    c.check()
    return c.missing
