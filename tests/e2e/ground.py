# SPDX-License-Identifier: Apache-2.0
"""One spanhound traces every case of a program at once: attaching and detaching a path is dear, running a case is not.
SPANHOUND_E2E_ISOLATE=1 gives each case a spanhound of its own (to find out which case spoils the others)."""
import os
from collections import defaultdict
from dataclasses import dataclass

import harness
import truth

ISOLATE = os.environ.get("SPANHOUND_E2E_ISOLATE") == "1"

# A process that starts while spanhound runs is traced within this time (issue, section 2).
PICK_UP_NS = 100_000_000
RING_SIZE = "64m"


@dataclass
class Case:
    name: str
    args: tuple = ()
    status: int = 0
    # Reasons the kernel's limits give to drop calls of this case; none: every call has its span.
    may_drop: tuple = ()
    other_parents: dict = None
    nesting: bool = True
    late: bool = False  # has processes that execute a new image while spanhound runs

    @property
    def id(self):
        return self.name + "".join("-" + a for a in self.args)


NESTING = ("return_nesting", "stack_full")
CALLS = [
    Case("nested"), Case("recursion"), Case("mutual"), Case("deep", ("60",)), Case("deep", ("100",), may_drop=NESTING),
    Case("deep", ("200",), may_drop=NESTING), Case("threads", ("64",)), Case("errors"),
    Case("exit"), Case("_exit"), Case("sigkill", status=-9), Case("segv", status=-11),
    Case("tail"), Case("tail_long", may_drop=NESTING),
    Case("longjmp"), Case("longjmp_far"), Case("longjmp_again"), Case("pthread_exit"), Case("pthread_exit_cleanup"),
    Case("cancel"),
    Case("signal"), Case("signal_jump"), Case("timer"),
    Case("fork"), Case("fork_threads"), Case("fork_parent_first"), Case("vfork", late=True), Case("spawn", late=True),
    Case("exec", late=True), Case("exec_thread", late=True), Case("thread_killed"), Case("thread_exit_raw"),
]
ALTSTACK = [Case(n, may_drop=("alternate_stack",)) for n in ("altstack_low", "altstack_high", "siglongjmp")]
COROUTINES = [
    # Whose child a coroutine's first call is, is a matter of taste; that the others are right is not.
    Case("coroutine", may_drop=("stack_switch",), nesting=False,
         other_parents={"p_coroutine_step": {"p_scheduler"}, "p_leaf": {"p_scheduler", 0}}),
]
THROWS = [Case(n) for n in ("near", "far", "outside", "rethrow", "destructor", "recursion", "through_c", "qsort", "constructor",
                            "within_handler", "library", "kept", "normal", "threads")] + [Case("uncaught", status=-6)]
PANICS = [Case(n) for n in ("nested", "caught", "guarded", "resumed", "threads")]
# The caller logs for p_asm_*, so their own times are not known from inside; p_asm_one and its like may be refused.
SYMBOLS = [Case("asm"), Case("alias"), Case("pieces")]

PROGRAMS = {"calls": (CALLS, "p_*"), "altstack": (ALTSTACK, "p_*"), "coroutines": (COROUTINES, "p_*"),
            "throws": (THROWS, ("probed::*", "p_c_apply")), "panics": (PANICS, "panics::probed::*"),
            "symbols": (SYMBOLS, "p_*")}


class Ground:
    """What one session of a program's cases gave."""

    def __init__(self, tmp, program, cases, variant="o2", options=()):
        globs = PROGRAMS[program][1]
        globs = (globs,) if isinstance(globs, str) else globs
        self.cases = {c.id: c for c in cases}
        self.programs = {}
        self.spans = defaultdict(list)
        self.stray = []
        path = harness.program_path(variant, program)
        try:
            for c in cases:
                self.programs[c.id] = harness.Program(tmp, program, c.name, *c.args, variant=variant)
            functions = [x for g in globs for x in ("-f", g)]
            # What is lost when many threads keep the consumer from running is for test_overload.py to look at.
            self.tracer = harness.Spanhound(tmp, "--exe", path, *functions, "--ring-size", RING_SIZE, *options)
            for c in cases:
                self.programs[c.id].run()
            self.result = self.tracer.stop()
        finally:
            for p in self.programs.values():
                p.kill()
        self.calls = {c: p.calls for c, p in self.programs.items()}
        self._share_out()
        self.offset_ns = self._clock_offset()

    def _share_out(self):
        """Which case a span is of: its thread's. The kernel may give a thread id out again: then the time decides."""
        owners = defaultdict(dict)
        for case, calls in self.calls.items():
            for c in calls:
                first, last = owners[c.tid].get(case, (c.enter_ns, c.enter_ns))
                owners[c.tid][case] = (min(first, c.enter_ns), max(last, c.enter_ns))
        for s in self.result.spans:
            at = s["start"] - self.result.offset_ns
            # How far outside of what the thread logged for this case: a little, if it was interrupted in between.
            near = {case: max(first - at, at - last, 0) for case, (first, last) in owners.get(truth.span_tid(s), {}).items()}
            case = min(near, key=near.get, default=None)
            if case is not None and near[case] < 5 * 10**9:
                self.spans[case].append(s)
            else:
                self.stray.append(s)

    def _clock_offset(self):
        """Of all cases together: the more calls, the nearer to the shortest way from the probe to the log."""
        offsets = [truth.clock_offset(self.calls[c], self.spans[c], None) for c in self.cases]
        return max((x for x in offsets if x is not None), default=self.result.offset_ns)

    def compare(self, case):
        c = self.cases[case]
        missing = truth.assert_same_tree(self.calls[case], self.spans[case], self.offset_ns,
                                         may_miss=bool(c.may_drop) or c.late, other_parents=c.other_parents,
                                         nesting=c.nesting)
        unseen = [m for m in missing if m.image_age_ns is None or m.image_age_ns > PICK_UP_NS]
        if not c.may_drop:
            assert not unseen, f"{len(unseen)} calls have no span: " + ", ".join(map(str, unseen[:5]))
        return unseen


_sessions = {}


def ground(tmp_path_factory, program, variant="o2", options=(), case=None):
    key = (program, variant, tuple(options), case if ISOLATE else None)
    if key not in _sessions:
        cases = [c for c in PROGRAMS[program][0] if not ISOLATE or c.id == case]
        try:
            _sessions[key] = Ground(str(tmp_path_factory.mktemp("ground")), program, cases, variant, options)
        except Exception as e:
            # Said in full once; the other cases of this session fail with one line.
            _sessions[key] = f"the session of all cases failed: {str(e).splitlines()[0]}"
            raise
    if isinstance(_sessions[key], str):
        raise AssertionError(_sessions[key])
    return _sessions[key]
