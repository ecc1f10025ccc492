# SPDX-License-Identifier: Apache-2.0
"""`spanhound functions`, `info`, --help, --version, completion."""
import json
import os
import subprocess

import pytest

import harness
from harness import spanhound_once


def functions(*args):
    status, out, err = spanhound_once("functions", *args, "--json")
    assert status == 0, err
    rows = json.loads(out)
    return rows["functions"] if isinstance(rows, dict) else rows


def by_name(rows):
    return {r["name"]: r for r in rows}


def test_table(program):
    p = program("calls", "nested")
    status, out, err = spanhound_once("functions", "--pid", p.pid, "p_l*")
    assert status == 0, err
    assert any("p_leaf" in line for line in out.splitlines()), out
    assert "p_middle" not in out


def test_json(program):
    p = program("calls", "nested")
    rows = by_name(functions("--pid", p.pid, "p_*"))
    nm = subprocess.run(["nm", "-S", p.path], capture_output=True, text=True).stdout
    for line in nm.splitlines():
        fields = line.split()
        if len(fields) == 4 and fields[3].startswith("p_"):
            r = rows[fields[3]]
            assert int(str(r["address"]), 0) == int(fields[0], 16)
            assert r["size"] == int(fields[1], 16)
            assert r["cost"] and (r.get("end") or r.get("reason"))


def test_matches_nothing(program):
    p = program("calls", "nested")
    status, out, err = spanhound_once("functions", "--pid", p.pid, "p_laef")
    assert status == 2 and "p_leaf" in err, err


def test_pieces_and_aliases(program):
    p = program("symbols", "pieces")
    rows = functions("--pid", p.pid, "p_*")
    names = [r["name"] for r in rows]
    assert not [n for n in names if n.endswith(".cold")], "a piece is not a function"
    addresses = [r["address"] for r in rows if r["name"].startswith("p_alias")]
    assert len(addresses) == 1, "one probe for both names"
    assert "p_alias_b" in json.dumps(rows) and "p_alias_a" in json.dumps(rows)


def test_ifunc(program):
    p = program("symbols", "ifunc")
    status, out, err = spanhound_once("functions", "--pid", p.pid, "p_ifunc", "--json")
    rows = json.loads(out) if out.strip() else []
    rows = rows["functions"] if isinstance(rows, dict) else rows
    for r in rows:
        assert r.get("reason") or r["name"] != "p_ifunc", "the resolver must not be offered as the function"


def test_cost_class_of_cet(program):
    """endbr64 first: a cheaper place is found behind it."""
    p = program("calls", "nested", variant="cet")
    rows = by_name(functions("--pid", p.pid, "p_*"))
    assert rows["p_middle"]["cost"] != "single-step", rows["p_middle"]


def test_why_not(program):
    p = program("throws", "near")
    rows = by_name(functions("--pid", p.pid, "probed::*"))
    assert rows
    for r in rows.values():
        assert r.get("end") != "return", f"an unwinder may pass {r['name']}: a return probe would kill the program"


def test_info():
    status, out, err = spanhound_once("info")
    assert status == 0, err
    for word in ("kernel", "session", "agent"):
        assert word in out.lower(), out


def test_info_json(info):
    assert os.uname().release in json.dumps(info)
    for link in harness.LINKS:
        assert link in info["links"]


def test_version():
    status, out, _ = spanhound_once("--version")
    assert status == 0 and out.startswith("spanhound ")


@pytest.mark.parametrize("command", [(), ("attach",), ("run",), ("check",), ("functions",), ("info",), ("replay",)],
                         ids=lambda c: c[0] if c else "spanhound")
def test_help(command):
    status, out, err = spanhound_once(*command, "--help")
    assert status == 0 and not err
    assert "usage" in out.lower() and (not command or command[0] in out)


def test_completion():
    status, out, err = spanhound_once("completion", "bash")
    assert status == 0, err
    script = out + "\nCOMP_WORDS=(spanhound att); COMP_CWORD=1; COMP_LINE='spanhound att'; COMP_POINT=13\n" \
                   "$(complete -p spanhound | sed 's/.*-F \\([^ ]*\\).*/\\1/')\necho \"${COMPREPLY[@]}\"\n"
    p = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert p.stdout.split() == ["attach"], (p.stdout, p.stderr)


def test_not_root(program):
    """Without privileges: a clear word, not a crash."""
    p = subprocess.run(["setpriv", "--reuid", "65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all",
                        harness.BINARY, "attach", "--pid", "1", "-f", "x"], capture_output=True, text=True, timeout=60)
    if "ermission denied" in p.stderr and p.returncode == 127:
        pytest.skip("the build directory is not readable for others")
    assert p.returncode not in (0, -11, -6)
    assert "CAP_" in p.stderr or "root" in p.stderr, p.stderr
