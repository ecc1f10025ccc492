# SPDX-License-Identifier: Apache-2.0
"""Every mistake of a probe list: file:line:column, what was expected, a suggestion; all of them at once."""
import re
import subprocess

import pytest

import harness
from harness import spanhound_once, write

# name: (text, [(line, column or None, words the message must have)])
BAD = {
    "unknown_key": ("probes:\n  - function: f\n    argz: {}\n", [(3, 5, ["argz", "args"])]),
    "unknown_top_key": ("probs:\n  - function: f\n", [(1, 1, ["probs", "probes"])]),
    "unknown_span_key": ("probes:\n  - function: f\n    span: {nmae: x}\n", [(3, 12, ["nmae", "name"])]),
    "unknown_target_key": ("targets:\n  - nome: x\nprobes:\n  - function: f\n", [(2, 5, ["nome", "name"])]),
    "unknown_type": ("probes:\n  - function: f\n    args: {a: {at: 1, type: i46}}\n", [(3, None, ["i46"])]),
    "argument_zero": ("probes:\n  - function: f\n    args: {a: {at: 0, type: i64}}\n", [(3, None, ["from 1"])]),
    "argument_seven": ("probes:\n  - function: f\n    args: {a: {at: 7, type: i64}}\n", [(3, None, ["7", "six"])]),
    "no_position": ("probes:\n  - function: f\n    args: {a: {type: i64}}\n", [(3, None, ["at"])]),
    "float": ("probes:\n  - function: f\n    args: {a: {at: 1, type: double}}\n", [(3, None, ["loating"])]),
    "condition_syntax": ("probes:\n  - function: f\n    args: {a: {at: 1, type: i64}}\n    when: a >< 3\n", [(4, 14, ["<"])]),
    "condition_unknown_name": ("probes:\n  - function: f\n    args: {amount: {at: 1, type: i64}}\n    when: amuont > 3\n",
                               [(4, None, ["amuont", "amount"])]),
    "condition_half": ("probes:\n  - function: f\n    args: {a: {at: 1, type: i64}}\n    when: a >\n", [(4, None, [])]),
    "error_syntax": ("probes:\n  - function: f\n    error: retrun < 0\n", [(3, None, ["return"])]),
    "duration": ("probes:\n  - function: f\n    min_duration: 5 parsecs\n", [(3, 19, ["5 parsecs", "ms"])]),
    "sample_range": ("probes:\n  - function: f\n    sample: 1.5\n", [(3, 13, ["1.5", "0", "1"])]),
    "rate": ("probes:\n  - function: f\n    rate: often\n", [(3, 11, ["often", "/s"])]),
    "template_unknown": ("probes:\n  - function: f\n    span: {resource: \"{currnecy}\"}\n"
                         "    args: {currency: {at: 1, type: string}}\n", [(3, None, ["currnecy", "currency"])]),
    "template_open": ("probes:\n  - function: f\n    span: {resource: \"{open\"}\n", [(3, None, ["}"])]),
    "metric_of_a_string": ("probes:\n  - function: f\n    span: {metrics: {m: s}}\n    args: {s: {at: 1, type: string}}\n",
                           [(3, None, ["s"])]),
    "bytes_without_length": ("probes:\n  - function: f\n    args: {a: {at: 1, type: bytes}}\n", [(3, None, ["bytes"])]),
    "bytes_of_unknown": ("probes:\n  - function: f\n    args: {a: {at: 1, type: bytes(len)}}\n", [(3, None, ["len"])]),
    "function_missing": ("probes:\n  - span: {name: x}\n", [(2, None, ["function"])]),
    "function_empty": ("probes:\n  - function: \"\"\n", [(2, None, ["function"])]),
    "not_a_list": ("probes: {function: f}\n", [(1, None, ["list"])]),
    "empty": ("", [(1, None, ["probes"])]),
    "yaml_syntax": ("probes:\n  - function: [f\n", [(2, None, [])]),
    "tab": ("probes:\n\t- function: f\n", [(2, None, [])]),
    "duplicate_key": ("probes:\n  - function: f\n    function: g\n", [(3, None, ["function"])]),
    "address_not_a_number": ("probes:\n  - address: main\n", [(2, 14, ["main"])]),
    "pid_not_a_number": ("targets:\n  - pid: twelve\nprobes:\n  - function: f\n", [(2, 10, ["twelve"])]),
    "many_at_once": ("probes:\n  - function: f\n    sample: 7\n  - function: g\n    argz: {}\n  - function: h\n    rate: x\n",
                     [(3, 13, ["7"]), (5, 5, ["argz"]), (7, 11, ["x"])]),
    "kind": ("probes:\n  - function: f\n    span: {kind: clinet}\n", [(3, None, ["clinet", "client"])]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad(tmp_path, name):
    text, mistakes = BAD[name]
    path = write(tmp_path, name + ".yaml", text)
    status, out, err = spanhound_once("check", path)
    assert status == 2, (status, out, err)
    said = out + err
    for line, column, words in mistakes:
        place = re.compile(rf"{name}\.yaml:{line}:{column if column else '[0-9]+'}: (.*)")
        found = place.findall(said)
        assert found, f"nothing at {line}:{column}\n{said}"
        assert any(all(w in f for w in words) for f in found), f"{words} not in {found}\n{said}"


def test_good(tmp_path):
    path = write(tmp_path, "good.yaml", """
targets:
  - name: checkout
    service: shop
probes:
  - function: charge_card
    span: {name: payment.charge, resource: "{currency}", type: worker}
    args: {amount: {at: 1, type: i64}, currency: {at: 2, type: string}}
    error: return < 0
    when: amount > 100
""")
    status, out, err = spanhound_once("check", path)
    assert status == 0, err


def test_no_such_file():
    status, out, err = spanhound_once("check", "/no/such/list.yaml")
    assert status == 2 and "/no/such/list.yaml" in err


def test_against_a_running_program(program, tmp_path):
    p = program("args", "values")
    path = write(tmp_path, "c.yaml", "probes:\n  - function: p_signde\n  - function: p_six\n  - function: [p_strct, p_seven]\n")
    status, out, err = spanhound_once("check", path, "--pid", p.pid)
    said = out + err
    assert status == 2, said
    assert re.search(r"c\.yaml:2:\d+: .*p_signde.*p_signed", said), said
    assert re.search(r"c\.yaml:4:\d+: .*p_strct.*p_struct", said), said
    good = write(tmp_path, "g.yaml", "probes:\n  - function: p_si*\n")
    status, out, err = spanhound_once("check", good, "--pid", p.pid)
    assert status == 0, out + err
    assert harness.uprobes_in(p.pid, p.path) == 0, "attaches nothing"


def test_attach_reports_the_same(program, tmp_path):
    p = program("args", "values")
    path = write(tmp_path, "c.yaml", "probes:\n  - function: p_signde\n")
    _, _, checked = spanhound_once("check", path, "--pid", p.pid)
    status, _, attached = spanhound_once("attach", "--pid", p.pid, "-c", path)
    assert status == 2
    line = next(x for x in checked.splitlines() if "c.yaml:2:" in x)
    assert line in attached


def test_shop_example(background, tmp_path):
    """The message the README promises."""
    shop = background(harness.program_path("o2", "shop"), "20", stdout=subprocess.PIPE, text=True)
    assert shop.stdout.readline().startswith("pid ")
    path = write(tmp_path, "typo.yaml", "probes:\n  - function: chrage_card\n")
    status, out, err = spanhound_once("check", path, "--name", "shop")
    assert status == 2
    assert re.search(r"typo\.yaml:2:\d+: error: no function 'chrage_card' in .*shop.*; did you mean '?charge_card'?\?", out + err), out + err


@pytest.mark.parametrize("arguments,words", [
    (("attach",), ["--name", "--pid"]),
    (("attach", "--pid", "abc", "-f", "x"), ["abc"]),
    (("attach", "--frobnicate"), ["frobnicate"]),
    (("attach", "--pid", "1", "--duration", "soon", "-f", "x"), ["soon"]),
    (("attach", "--pid", "1", "--count", "-1", "-f", "x"), ["-1"]),
    (("attach", "--pid", "1", "--export", "carrier-pigeon", "-f", "x"), ["carrier-pigeon", "json"]),
    (("attach", "--pid", "1", "--link", "chain", "-f", "x"), ["chain", "session"]),
    (("attach", "--pid", "1", "--end", "never", "-f", "x"), ["never", "sites"]),
    (("atach",), ["atach", "--help"]),
    (("check",), ["FILE"]),
    (("replay", "/no/such/file"), ["/no/such/file"]),
    (("functions",), ["--name"]),
])
def test_command_line_mistakes(arguments, words):
    status, out, err = spanhound_once(*arguments)
    assert status in (1, 2, 64), (status, err)
    assert all(w in err for w in words), err
    assert len(err.splitlines()) <= 4, "a specific error, not a page of help"
