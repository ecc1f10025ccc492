# SPDX-License-Identifier: Apache-2.0
"""`spanhound run -- CMD`: traced from the first instruction; signals and the exit status pass through."""
import os
import signal

import pytest

import harness
import truth
from harness import program_path, wait_for


def run(spanhound, tmp_path, *command, functions=("-f", "p_*"), **kwargs):
    env = {"TRUTH_NOWAIT": "1", **kwargs.pop("env", {})}
    return spanhound(*functions, command="run", after=("--", *command), wait_ready=False, env=env, **kwargs)


@pytest.mark.parametrize("variant", ["o2", "static", "nopie"])
def test_from_the_first_instruction(spanhound, tmp_path, variant):
    log = str(tmp_path / "log")
    r = run(spanhound, tmp_path, program_path(variant, "calls"), log, "nested").result()
    calls = truth.read(log)
    truth.assert_same_tree(calls, r.spans, r.offset_ns)


@pytest.mark.parametrize("status", [0, 1, 7, 255])
def test_exit_status(spanhound, tmp_path, status):
    s = run(spanhound, tmp_path, "/bin/sh", "-c", f"exit {status}", functions=("-f", "main"))
    # `main` need not exist in a stripped shell: that is a warning for a program that is only about to start.
    assert s.wait_exit() in (status, 2), s.stderr


def test_exit_status_of_a_traced_program(spanhound, tmp_path):
    log = str(tmp_path / "log")
    s = run(spanhound, tmp_path, program_path("o2", "calls"), log, "no-such-case")
    assert s.wait_exit() == 2, s.stderr
    assert "usage:" in s.stderr


def test_killed_by_a_signal(spanhound, tmp_path):
    log = str(tmp_path / "log")
    s = run(spanhound, tmp_path, program_path("o2", "calls"), log, "sigkill")
    assert s.wait_exit() == 128 + signal.SIGKILL, s.stderr
    spans = harness.read_spans(s.spans_path)
    truth.assert_same_tree(truth.read(log), spans, 0)


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2], ids=lambda s: s.name)
def test_signals_pass_through(spanhound, tmp_path, sig):
    said = tmp_path / "said"
    script = harness.write(tmp_path, "trap.sh", f"""trap 'echo caught >{said}; exit 9' {sig.name[3:]}
echo up >{said}.up
while :; do sleep 0.05; done
""")
    s = run(spanhound, tmp_path, "/bin/bash", script, functions=("-f", "main"))
    wait_for(lambda: os.path.exists(f"{said}.up") or s.process.poll() is not None, "the program to start")
    s.process.send_signal(sig)
    try:
        status = s.wait_exit(20)
    finally:
        harness.kill_script(script)
    assert said.exists() and said.read_text() == "caught\n", s.stderr
    assert status == 9


def test_stdio_passes_through(spanhound, tmp_path):
    s = run(spanhound, tmp_path, "/bin/echo", "the program speaks", functions=("-f", "main"))
    s.wait_exit()
    assert "the program speaks\n" in s.stdout


def test_no_such_program(spanhound, tmp_path):
    s = run(spanhound, tmp_path, "/no/such/program")
    assert s.wait_exit() in (2, 126, 127)
    assert "/no/such/program" in s.stderr


@pytest.mark.alone
def test_children_of_the_command(spanhound, tmp_path):
    """A shell that starts the program: what the command starts is traced, too."""
    log = str(tmp_path / "log")
    s = run(spanhound, tmp_path, "/bin/sh", "-c", f"{program_path('o2', 'calls')} {log} child; true",
            functions=("-f", "p_*"))
    s.wait_exit()
    spans = harness.read_spans(s.spans_path)
    must = [c for c in truth.read(log) if c.image_age_ns > 100_000_000]
    assert len(spans) >= len(must) > 0


def test_ifunc_resolver_is_not_the_function(spanhound, tmp_path):
    """The resolver runs once at start, in the program's first instructions: no span of it."""
    log = str(tmp_path / "log")
    r = run(spanhound, tmp_path, program_path("o2", "symbols"), log, "ifunc",
            functions=("-f", "p_ifunc", "-f", "p_alias_a")).result()
    spans = r.named("p_ifunc")
    assert len(spans) in (0, len(truth.read(log)))
    if not spans:
        assert "p_ifunc" in r.stderr, "says why it is not probed"
