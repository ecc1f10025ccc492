# SPDX-License-Identifier: Apache-2.0
"""The ground truth itself: every case runs untraced and tells a story that holds together, and the comparison sees every
kind of difference. Without this, a green end-to-end test would prove nothing."""
import copy
import subprocess

import pytest

import harness
import truth

CASES = [(variant, program) for variant, program in
         [("o2", "calls"), ("o0", "calls"), ("cet", "calls"), ("nopie", "calls"), ("static", "calls"), ("o2", "altstack"), ("o2", "coroutines"), ("o2", "throws"),
          ("o0", "throws"), ("cet", "throws"), ("o2", "panics"), ("o2", "symbols"), ("o0", "symbols")]]
ENDS = {"sigkill": -9, "segv": -11, "uncaught": -6}


def cases_of(path):
    return subprocess.run([path], capture_output=True, text=True).stderr.split("cases:")[1].split()


@pytest.mark.parametrize("variant,name", CASES, ids=lambda x: x)
def test_untraced(variant, name, program):
    for case in cases_of(harness.program_path(variant, name)):
        p = program(name, case, variant=variant).run()
        assert p.status == ENDS.get(case, 0), (case, p.stderr)
        calls = p.calls
        assert calls, case
        for c in calls:
            if c.parent:
                assert c.parent.enter_ns <= c.enter_ns, str(c)
            if c.how == "return" and c.parent and c.parent.end_ns and c.parent.pid == c.pid:
                assert c.end_ns <= c.parent.end_ns, str(c)


def test_tail_calls_are_jumps():
    code = subprocess.run(["objdump", "-d", "--no-show-raw-insn", harness.program_path("o2", "calls")],
                          capture_output=True, text=True).stdout
    for function, target in (("p_tail_direct", "p_tail_target"), ("p_tail_unprobed", "u_tail_target"),
                             ("p_tail_chain", "p_tail_direct")):
        body = code.split(f"<{function}>:")[1].split("\n\n")[0]
        assert any("jmp" in line and f"<{target}>" in line for line in body.splitlines()), body


def as_spans(calls):
    """Perfect spans for these calls."""
    trace = {}
    spans = []
    for c in calls:
        root = c
        while root.parent:
            root = root.parent
        trace.setdefault(root.id, len(trace) + 1)
        end = c.end_ns if c.end_ns is not None else max(x.end_ns or x.enter_ns for x in calls)
        spans.append({"resource": c.function, "name": c.function, "service": "s", "trace_id": trace[root.id],
                      "span_id": c.id + 1000, "parent_id": c.parent.id + 1000 if c.parent else 0,
                      "start": c.enter_ns - 10, "duration": end - c.enter_ns + 10 + (10 if c.how != "open" else 0),
                      "error": int(c.how == "exception"), "metrics": {"thread.id": c.tid},
                      "meta": {"spanhound.unfinished": "true"} if c.how == "open" else {}})
    return spans


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    p = harness.Program(str(tmp_path_factory.mktemp("story")), "throws", "far").run()
    return p.calls


def test_comparison_accepts_the_truth(story):
    truth.assert_same_tree(story, as_spans(story), 0)


def lose_a_span(spans):
    del spans[5]


def add_a_span(spans):
    spans.append(dict(copy.deepcopy(spans[7]), span_id=999999))


def wrong_parent(spans):
    child = next(s for s in spans if s["parent_id"])
    child["parent_id"] = next(s for s in spans if s["span_id"] != child["parent_id"])["span_id"]


def no_parent(spans):
    next(s for s in spans if s["parent_id"])["parent_id"] = 0


def other_trace(spans):
    next(s for s in spans if s["parent_id"])["trace_id"] = 77777


def other_function(spans):
    spans[3]["resource"] = "probed::nothing()"


def other_thread(spans):
    spans[3]["metrics"]["thread.id"] += 1


def too_short(spans):
    spans[0]["duration"] = 1


def error_forgotten(spans):
    next(s for s in spans if s["error"])["error"] = 0


def error_invented(spans):
    next(s for s in spans if not s["error"])["error"] = 1


def unfinished_invented(spans):
    spans[2]["meta"]["spanhound.unfinished"] = "true"


def same_id_twice(spans):
    spans[4]["span_id"] = spans[3]["span_id"]


@pytest.mark.parametrize("spoil", [lose_a_span, add_a_span, wrong_parent, no_parent, other_trace, other_function,
                                   other_thread, too_short, error_forgotten, error_invented, unfinished_invented,
                                   same_id_twice], ids=lambda f: f.__name__)
def test_comparison_sees(story, spoil):
    spans = as_spans(story)
    spoil(spans)
    with pytest.raises(truth.Difference):
        truth.assert_same_tree(story, spans, 0)


def test_identity_is_checked():
    harness.assert_identity({"seen": 10, "exported": 7, "dropped": {"when": 1, "rate": 2}})
    with pytest.raises(AssertionError):
        harness.assert_identity({"seen": 10, "exported": 7, "dropped": {"when": 1, "rate": 1}})
