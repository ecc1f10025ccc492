# SPDX-License-Identifier: Apache-2.0
import json
import os
import signal
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))
import harness  # noqa: E402

DEFAULT_TIMEOUT_S = 120
# Where one that hangs must not use up the time of all (tests/kernels): no test takes longer, whatever it says.
LIMIT_S = int(os.environ.get("SPANHOUND_TEST_LIMIT", "0"))


def pytest_configure(config):
    config.addinivalue_line("markers", "timeout(seconds): longer or shorter than the default")
    config.addinivalue_line("markers", "soak: only with SPANHOUND_SOAK=1")
    config.addinivalue_line("markers", "alone: loads the machine or measures time: no other test runs beside it (run.py)")
    config.addinivalue_line("markers", "early: takes long, and begins before all others")
    config.addinivalue_line("markers", "xdist_group(name): all of a name run in one worker (pytest-xdist)")


def pytest_sessionstart():
    harness.take_programs()


def pytest_sessionfinish():
    harness.leave_programs()


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks for groups
def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: not item.get_closest_marker("early"))
    for item in items:
        # Tests that look at one session's result belong together.
        group_of = getattr(item.module, "group_of", None)
        if group_of:
            item.add_marker(pytest.mark.xdist_group(group_of(item)))
        if item.get_closest_marker("soak") and not harness.SOAK:
            item.add_marker(pytest.mark.skip(reason="long: run with SPANHOUND_SOAK=1 (make soak)"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    """A timeout of our own: setup, test and teardown together."""
    marker = item.get_closest_marker("timeout")
    seconds = (marker.args[0] if marker else DEFAULT_TIMEOUT_S) * harness.PATIENCE
    seconds = min(seconds, LIMIT_S or seconds)

    def expired(*_):
        raise TimeoutError(f"longer than {seconds} s")

    old = signal.signal(signal.SIGALRM, expired)
    signal.alarm(seconds)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, old)


@pytest.fixture(scope="session")
def info():
    status, out, err = harness.spanhound_once("info", "--json")
    assert status == 0, err
    return json.loads(out)


@pytest.fixture
def spanhound(tmp_path):
    """spanhound("--pid", N, ...) -> harness.Spanhound, ready. Whatever still runs at the end of the test is stopped and
    must end cleanly."""
    running = []

    def start(*args, **kwargs):
        s = harness.Spanhound(str(tmp_path), *args, **kwargs)
        running.append(s)
        return s

    yield start
    left = [s for s in running if s.process.poll() is None]
    for s in left:
        s.process.send_signal(signal.SIGINT)
    for s in left:
        s.wait_exit()


@pytest.fixture
def program(tmp_path):
    """program("calls", "nested") -> harness.Program, waiting for go()."""
    running = []

    def start(*args, **kwargs):
        p = harness.Program(str(tmp_path), *args, **kwargs)
        running.append(p)
        return p

    yield start
    for p in running:
        p.kill()


@pytest.fixture
def hot():
    running = []

    def start(*args, **kwargs):
        h = harness.Hot(*args, **kwargs)
        running.append(h)
        return h

    yield start
    for h in running:
        h.kill()


@pytest.fixture
def background(tmp_path):
    """Any other process of a test: started, killed at its end."""
    running = []

    def start(*args, **kwargs):
        p = subprocess.Popen(args, **kwargs)
        running.append(p)
        return p

    yield start
    for p in running:
        if p.poll() is None:
            p.kill()
        p.wait()


@pytest.fixture
def namespaces():
    """Two network namespaces joined by veth: ((name, address), (name, address))."""
    names = [f"sh{os.getpid()}{x}" for x in "ab"]
    made = []
    try:
        for n in names:
            p = subprocess.run(["ip", "netns", "add", n], capture_output=True, text=True)
            if p.returncode:
                pytest.skip(f"no network namespace can be made: {p.stderr.strip()}")
            made.append(n)
        veth = [f"v{os.getpid()}{x}" for x in "ab"]
        p = subprocess.run(["ip", "link", "add", veth[0], "netns", names[0], "type", "veth", "peer", "name", veth[1], "netns", names[1]],
                           capture_output=True, text=True)
        if p.returncode:
            pytest.skip(f"no veth can be made: {p.stderr.strip()}")
        for i in range(2):
            for args in (["addr", "add", f"10.99.7.{i + 1}/24", "dev", veth[i]], ["link", "set", veth[i], "up"],
                         ["link", "set", "lo", "up"]):
                subprocess.run(["ip", "-n", names[i], *args], check=True)
        yield tuple((n, f"10.99.7.{i + 1}") for i, n in enumerate(names))
    finally:
        for n in made:
            subprocess.run(["ip", "netns", "del", n], check=False)
