# SPDX-License-Identifier: Apache-2.0
"""Every span, parent edge and count against what the programs say they did, on each attach path and for each way a
program may be built."""
from collections import Counter

import pytest

import ground
import harness


def paths(ends, long):
    """Each kind of link with each way a call's end is seen. The kernel takes perf's links away one by one: of those, what is in
    `long` is for the soak."""
    return [pytest.param(link, end, id=f"{link}-{end}", marks=[pytest.mark.soak] if link == "perf" and end in long else [])
            for link in harness.LINKS for end in ends]


PATHS = paths(harness.ENDS, ["sites"])
# Where an unwinder passes, or stacks are switched, a return probe would kill the target: there spanhound chooses for itself.
CHOSEN = paths(("auto", "sites"), ["auto"])
VARIANTS = ["o0", "cet", "nopie", "static"]
# Which way a call ends can be seen is for spanhound to choose; it must not matter to the result.
UNWINDING = [("throws", v) for v in ("o2", "o0", "cet")] + [("panics", "o2")]


def session(tmp_path_factory, info, program, variant="o2", link=None, end=None, case=None):
    if program == "panics" and not harness.have_program("o2", "panics"):
        pytest.skip("no rustc: the Rust program was not built")
    options = []
    if link:
        why = harness.link_missing(info, link)
        if why:
            pytest.skip(f"this kernel has no {link} links: {why}")
        options += ["--link", link]
    if end:
        options += ["--end", end]
    return ground.ground(tmp_path_factory, program, variant, options, case)


PROGRAM_OF = {"test_signal_stacks": "altstack", "test_stack_switches": "coroutines", "test_exceptions": "throws",
              "test_exceptions_built": "throws", "test_exception_types": "throws", "test_panics": "panics",
              "test_symbols": "symbols", "test_symbols_built": "symbols"}


def group_of(item):
    """The session (ground.py) that a test looks at."""
    of = item.callspec.params if hasattr(item, "callspec") else {}
    program = of.get("program") or PROGRAM_OF.get(item.originalname, "calls")
    return "-".join((program, of.get("variant", "o2"), of.get("link", "best"), of.get("end", "auto")))


def check(g, case):
    p = g.programs[case]
    c = g.cases[case]
    assert p.status == c.status, f"{case} ended with {p.status}, not {c.status}: the target was harmed. {p.stderr}"
    g.compare(case)


def check_losses(g):
    """What is missing is exactly what the counters say, reason by reason as far as the case tells."""
    missing, reasons = 0, set()
    for case, c in g.cases.items():
        try:
            missing += len(g.compare(case)) if c.may_drop else 0
        except AssertionError as e:
            pytest.fail(f"not comparable because {case} differs: {str(e).splitlines()[0]}")
        reasons |= set(c.may_drop)
    dropped = {k: v for k, v in g.result.summary["dropped"].items() if v}
    assert set(dropped) <= reasons, f"dropped for other reasons than the cases have: {dropped}"
    assert sum(dropped.values()) == missing, f"{missing} calls without a span, counted {dropped}"


def check_strays(g):
    names = Counter(s["resource"] for s in g.stray)
    assert not g.stray, f"spans of threads that no case had: {names.most_common(5)}"
    assert g.result.summary["exported"] == len(g.result.spans)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("case", [c.id for c in ground.CALLS])
@pytest.mark.parametrize("link,end", PATHS)
def test_calls(tmp_path_factory, info, link, end, case):
    check(session(tmp_path_factory, info, "calls", "o2", link, end, case), case)


@pytest.mark.skipif(ground.ISOLATE, reason="needs all cases in one session")
@pytest.mark.parametrize("link,end", PATHS)
def test_calls_losses(tmp_path_factory, info, link, end):
    g = session(tmp_path_factory, info, "calls", "o2", link, end)
    check_strays(g)
    check_losses(g)


@pytest.mark.parametrize("case", [c.id for c in ground.CALLS])
@pytest.mark.parametrize("variant", VARIANTS)
def test_calls_built(tmp_path_factory, info, variant, case):
    check(session(tmp_path_factory, info, "calls", variant, case=case), case)


@pytest.mark.parametrize("case", [c.id for c in ground.ALTSTACK])
@pytest.mark.parametrize("link,end", CHOSEN)
def test_signal_stacks(tmp_path_factory, info, link, end, case):
    check(session(tmp_path_factory, info, "altstack", "o2", link, end, case), case)


@pytest.mark.parametrize("case", [c.id for c in ground.COROUTINES])
@pytest.mark.parametrize("link,end", CHOSEN)
def test_stack_switches(tmp_path_factory, info, link, end, case):
    check(session(tmp_path_factory, info, "coroutines", "o2", link, end, case), case)


@pytest.mark.skipif(ground.ISOLATE, reason="needs all cases in one session")
@pytest.mark.parametrize("program", ["altstack", "coroutines"])
@pytest.mark.parametrize("link,end", CHOSEN)
def test_stacks_losses(tmp_path_factory, info, program, link, end):
    g = session(tmp_path_factory, info, program, "o2", link, end)
    check_strays(g)
    check_losses(g)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("case", [c.id for c in ground.THROWS])
@pytest.mark.parametrize("link,end", CHOSEN)
def test_exceptions(tmp_path_factory, info, link, end, case):
    check(session(tmp_path_factory, info, "throws", "o2", link, end, case), case)


@pytest.mark.parametrize("case", [c.id for c in ground.THROWS])
@pytest.mark.parametrize("variant", ["o0", "cet"])
def test_exceptions_built(tmp_path_factory, info, variant, case):
    check(session(tmp_path_factory, info, "throws", variant, case=case), case)


@pytest.mark.parametrize("case", [c.id for c in ground.PANICS])
@pytest.mark.parametrize("link,end", CHOSEN)
def test_panics(tmp_path_factory, info, link, end, case):
    check(session(tmp_path_factory, info, "panics", "o2", link, end, case), case)


@pytest.mark.skipif(ground.ISOLATE, reason="needs all cases in one session")
@pytest.mark.parametrize("program,variant", UNWINDING, ids=lambda x: x)
def test_unwinding_losses(tmp_path_factory, info, program, variant):
    g = session(tmp_path_factory, info, program, variant)
    check_strays(g)
    check_losses(g)


def test_exception_types(tmp_path_factory, info):
    """error.type is the thrown type's name."""
    g = session(tmp_path_factory, info, "throws", case="outside")
    types = Counter(s["meta"].get("error.type") for s in g.spans["outside"]
                    if s["error"] and s["resource"] == "probed::thrower(long)")
    assert types == {"std::runtime_error": 2, "shop::Declined": 2, "int": 2, "shop::Plain": 2}


def one_name(resource):
    """Aliases and the compiler's copies of a function count as the function."""
    return resource.split(".")[0].replace("p_alias_b", "p_alias_a")


@pytest.mark.parametrize("case", [c.id for c in ground.SYMBOLS])
@pytest.mark.parametrize("link,end", CHOSEN)
def test_symbols(tmp_path_factory, info, link, end, case):
    """Aliases at one address, pieces the compiler cut off, hand-written assembly: results unharmed, one span per call."""
    g = session(tmp_path_factory, info, "symbols", "o2", link, end, case)
    assert g.programs[case].status == 0, g.programs[case].stdout
    calls, spans = g.calls[case], g.spans[case]
    want, got = Counter(c.function for c in calls), Counter(one_name(s["resource"]) for s in spans)
    skipped = {x for x in want if x not in got}
    # Refused with a reason is right only for what cannot be observed at all.
    assert skipped <= {"p_asm_one", "p_asm_nosize"}, f"no spans of {skipped}"
    assert {k: v for k, v in want.items() if k not in skipped} == dict(got)


@pytest.mark.parametrize("variant", ["cet", "nopie", "o0"])
@pytest.mark.parametrize("case", [c.id for c in ground.SYMBOLS])
def test_symbols_built(tmp_path_factory, info, variant, case):
    g = session(tmp_path_factory, info, "symbols", variant, case=case)
    assert g.programs[case].status == 0, g.programs[case].stdout
    names = Counter(one_name(s["resource"]) for s in g.spans[case])
    for function, cnt in Counter(c.function for c in g.calls[case]).items():
        assert names.get(function, 0) in (cnt, 0 if function in ("p_asm_one", "p_asm_nosize") else cnt), (function, names)
