# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin for guests (-p guest). Each result is written to SPANHOUND_RESULTS when it is there, one JSON object a
line, so that a guest that hangs or dies has told what it knows until then:

    {"selected": [TEST, ...]}
    {"begin": TEST}
    {"test": TEST, "outcome": passed|failed|skipped, "seconds": N, "text": what failed or why skipped, "figures": {...}}

A test that goes on after its time limit (conftest.py), in a system call that no signal ends, takes the process with it;
the next process goes on behind it: SPANHOUND_DONE names the file of tests that began; with .end it is there at the end."""
import faulthandler
import json
import os
import sys

# Until then a test that ran into its time limit has stopped what it had started.
GRACE_S = int(os.environ.get("SPANHOUND_TEST_GRACE", "120"))
MAX_TEXT = 4000
RESULTS = os.environ.get("SPANHOUND_RESULTS", os.devnull)
DONE = os.environ.get("SPANHOUND_DONE", "/tmp/done")
LIMIT_S = int(os.environ.get("SPANHOUND_TEST_LIMIT", "600"))

reports = {}


def say(**what):
    with open(RESULTS, "a", encoding="utf-8") as f:
        f.write(json.dumps(what) + "\n")


def name_of(nodeid):
    path, _, name = nodeid.partition("::")
    return f"{os.path.basename(path).removesuffix('.py')}::{name}"


def pytest_collection_finish(session):
    """What was chosen, without what an earlier process began."""
    began = set()
    if os.path.exists(DONE):
        with open(DONE, encoding="utf-8") as f:
            began = set(f.read().splitlines())
    else:
        say(selected=[name_of(i.nodeid) for i in session.items])
    session.items[:] = [i for i in session.items if name_of(i.nodeid) not in began]


def pytest_sessionfinish():
    with open(DONE + ".end", "w", encoding="utf-8"):
        pass


def pytest_runtest_logstart(nodeid):
    with open(DONE, "a", encoding="utf-8") as f:
        f.write(name_of(nodeid) + "\n")
    say(begin=name_of(nodeid))
    faulthandler.dump_traceback_later(LIMIT_S + GRACE_S, exit=True, file=sys.__stderr__)


def pytest_runtest_logreport(report):
    reports.setdefault(report.nodeid, []).append(report)


def pytest_runtest_logfinish(nodeid):
    faulthandler.cancel_dump_traceback_later()
    phases = reports.pop(nodeid, [])
    bad = [r for r in phases if r.failed]
    skipped = [r for r in phases if r.skipped]
    text = ""
    if bad:
        text = "\n".join(r.longreprtext for r in bad)[-MAX_TEXT:]
    elif skipped:
        text = skipped[0].longrepr[2] if isinstance(skipped[0].longrepr, tuple) else str(skipped[0].longrepr)
    say(test=name_of(nodeid), outcome="failed" if bad else "skipped" if skipped else "passed",
        seconds=round(sum(r.duration for r in phases), 1), text=text,
        figures=dict(p for r in phases if r.when == "teardown" for p in r.user_properties))
