# SPDX-License-Identifier: Apache-2.0
"""Section 3: what a probe may say, and that the kernel half obeys it."""
import os
import shutil
import subprocess
import time

import pytest

import harness
import truth
from harness import spanhound_once, write


@pytest.fixture
def traced(spanhound, program, tmp_path, info):
    """traced(yaml, case, ...) -> (program, result)"""
    def trace(yaml, case="values", *args, name="args", variant="o2", options=()):
        p = program(name, case, *args, variant=variant)
        s = spanhound("--pid", p.pid, "-c", write(tmp_path, "probes.yaml", yaml), *options)
        p.run()
        r = s.stop()
        assert p.status == 0
        return p, r
    return trace


def tags(span):
    """meta and metrics in one: whether a number is a tag or a metric is the probe's choice."""
    return {**span.get("meta", {}), **span.get("metrics", {})}


def values(result, function, *keys):
    out = []
    for s in sorted(result.named(function), key=lambda s: s["start"]):
        t = tags(s)
        out.append(tuple(str(t.get(k)) for k in keys))
    return out


def texts(rows):
    return [tuple(str(v) for v in row) for row in rows]


@pytest.mark.parametrize("variant", ["o2", "o0", "cet"])
def test_integers(traced, variant):
    _, r = traced("""
probes:
  - function: p_signed
    args: {a: {at: 1, type: i8}, b: {at: 2, type: i16}, c: {at: 3, type: i32}, d: {at: 4, type: i64}}
  - function: p_unsigned
    args: {a: {at: 1, type: u8}, b: {at: 2, type: u16}, c: {at: 3, type: u32}, d: {at: 4, type: u64}}
""", variant=variant)
    big = 2**63
    assert values(r, "p_signed", "a", "b", "c", "d") == texts([
        (-1, -2, -3, -4), (-128, -32768, -2**31, -big + 100000000000), (127, 32767, 2**31 - 1, big - 1 - 100000000000)])
    assert values(r, "p_unsigned", "a", "b", "c", "d") == texts([
        (1, 2, 3, 4), (255, 65535, 2**32 - 1, 2 * big - 1 - 100000000000)])


def test_small_types(traced):
    _, r = traced("""
probes:
  - function: p_small
    args: {a: {at: 1, type: bool}, b: {at: 2, type: char}, c: {at: 3, type: ptr}}
""")
    got = values(r, "p_small", "a", "b", "c")
    assert got[0] == ("true", "x", "0xabcdef")
    assert got[1][0] == "false" and got[1][2] in ("0x0", "NULL", "null")


def test_six_arguments(traced):
    _, r = traced("""
probes:
  - function: p_six
    args: {a: {at: 1, type: i64}, b: {at: 2, type: i64}, c: {at: 3, type: i64}, d: {at: 4, type: i64},
           e: {at: 5, type: i64}, f: {at: 6, type: i64}}
  - function: p_seven
    args: {f: {at: 6, type: i64}}
""")
    assert values(r, "p_six", "a", "b", "c", "d", "e", "f") == texts([(1, -2, 3, -4, 5, -6)])
    assert values(r, "p_seven", "f") == texts([(6,)])


def test_strings(traced):
    _, r = traced("""
probes:
  - function: p_string
    args: {s: {at: 1, type: string, max: 32}, n: {at: 2, type: i32}}
""")
    rows = {n: s for s, n in values(r, "p_string", "s", "n")}
    assert rows["1"] == "EUR" and rows["2"] == ""
    assert rows["3"].startswith("y" * 28) and rows["3"] != "y" * len(rows["3"]), "a truncation mark"
    assert len(rows["3"].encode()) <= 40
    assert rows["4"] == "na\xefve caf\xe9"
    assert rows["5"].startswith("not ") and rows["5"].endswith("utf-8"), "replaced or escaped, valid JSON in any case"
    for bad in ("6", "7"):
        assert rows[bad] not in ("", "None"), "never an empty string passed off as the value"


def test_bytes(traced):
    _, r = traced("""
probes:
  - function: p_bytes
    args: {n: {at: 2, type: i32}, p: {at: 1, type: bytes(n), max: 16}}
""")
    rows = {n: p for p, n in values(r, "p_bytes", "p", "n")}
    assert rows["4"].replace(" ", "").replace("\\x", "").lower().removeprefix("0x") == "0001feff"
    assert "616263" in rows["3"] or "abc" in rows["3"]


def test_structs(traced):
    """struct customer: id at 0, name at 8, home at 16, flags at 24, initial at 26, active at 27;
    struct address: city[16] at 0, street at 16, number at 24."""
    _, r = traced("""
probes:
  - function: p_struct
    args:
      id: {at: 1, offset: 0, type: i64}
      name: {at: 1, deref: [8], type: string}
      city: {at: 1, deref: [16], type: string}
      street: {at: 1, deref: [16, 16], type: string}
      number: {at: 1, deref: [16], offset: 24, type: i32}
      flags: {at: 1, offset: 24, type: u16}
      initial: {at: 1, offset: 26, type: char}
      active: {at: 1, offset: 27, type: bool}
""")
    rows = values(r, "p_struct", "id", "name", "city", "street", "number", "flags", "initial", "active")
    assert rows[0] == ("1234567890123", "Ada", "Utrecht", "Oudegracht", "42", str(0xbeef), "A", "true")
    assert rows[1][:2] == ("1234567890123", "Ada")
    assert rows[1][2] not in ("", "Utrecht") and rows[2][1] not in ("", "Ada"), "what could not be read says so"


def test_return_values(traced):
    _, r = traced("""
probes:
  - function: p_signed
    return: {type: i64, tag: sum}
  - function: p_returns_string
    return: {type: string, tag: text}
  - function: p_small
    return: {type: bool, tag: ok}
""")
    assert values(r, "p_signed", "sum")[0] == ("-10",)
    assert values(r, "p_small", "ok") == [("true",), ("false",)]
    got = values(r, "p_returns_string", "text")
    assert got[0] == ("returned text",) and got[1] != ("",)


def test_errors(traced):
    _, r = traced("""
probes:
  - function: p_error_int
    error: return < 0
  - function: p_error_null
    error: return == NULL
  - function: p_error_bool
    return: {type: u8}
    error: return == 0
""", "errors", name="calls")
    errors = {f: [s["error"] for s in sorted(r.named(f), key=lambda s: s["start"])]
              for f in ("p_error_int", "p_error_null", "p_error_bool")}
    assert errors["p_error_int"] == [int(n % 3 == 0) for n in range(12)]
    assert errors["p_error_null"] == [int(n % 2 == 0) for n in range(12)]
    assert errors["p_error_bool"] == [int(n % 4 == 0) for n in range(12)]
    for s in r.spans:
        if s["error"]:
            assert s["meta"].get("error.message") and s["meta"].get("error.type"), s
        else:
            assert "error.message" not in s["meta"]
    assert {x["function"]: x["errors"] for x in r.summary["probes"]} == {"p_error_int": 4, "p_error_null": 6,
                                                                         "p_error_bool": 3}


def test_span_templates(traced):
    _, r = traced("""
probes:
  - function: p_string
    span:
      name: payment.charge
      resource: "charge {currency}"
      service: bank
      type: worker
      kind: client
      tags: {team: core, what: "{currency}/{n}"}
      metrics: {amount: n}
    args: {currency: {at: 1, type: string, max: 16}, n: {at: 2, type: i32}}
  - function: p_six
""")
    s = next(x for x in r.spans if x["resource"] == "charge EUR")
    assert s["name"] == "payment.charge" and s["service"] == "bank" and s["type"] == "worker"
    assert s["meta"]["span.kind"] == "client" and s["meta"]["team"] == "core" and s["meta"]["what"] == "EUR/1"
    assert s["metrics"]["amount"] == 1
    default = r.named("p_six")[0]
    assert default["name"] == default["resource"] == "p_six"


def test_default_names_of_cxx(spanhound, program):
    """name: the unqualified name; resource: the full demangled one."""
    p = program("throws", "normal")
    s = spanhound("--pid", p.pid, "-f", "probed::leaf")
    p.run()
    r = s.stop()
    assert {(x["name"], x["resource"]) for x in r.spans} == {("leaf", "probed::leaf(long)")}


@pytest.mark.parametrize("pattern,expected", [
    ("probed::leaf", {"probed::leaf(long)"}),
    ("probed::leaf(long)", {"probed::leaf(long)"}),
    ("probed::*air*", {"probed::pair(long)"}),
    ("probed::catch_f*", {"probed::catch_far(long)"}),
])
def test_cxx_patterns(spanhound, program, pattern, expected):
    p = program("throws", "normal")
    s = spanhound("--pid", p.pid, "-f", pattern)
    p.run()
    assert {x["resource"] for x in s.stop().spans} == expected


def test_lists_and_exclude(traced):
    _, r = traced("""
probes:
  - function: [p_s*, p_six]
    exclude: [p_struct, p_string, p_slow, "p_se*"]
""")
    assert {s["resource"] for s in r.spans} == {"p_signed", "p_small", "p_six"}


@pytest.mark.parametrize("condition,keep", [
    ("n == 5", lambda n: n == 5),
    ("n != 5", lambda n: n != 5),
    ("n > 900", lambda n: n > 900),
    ("n <= 10 or n > 990", lambda n: n <= 10 or n > 990),
    ("n >= 10 and n < 20", lambda n: 10 <= n < 20),
    ("last == 3 and odd == true", lambda n: n % 10 == 3 and n % 2 == 1),
    ("minus < -989", lambda n: -n < -989),
])
def test_when(traced, condition, keep):
    _, r = traced(f"""
probes:
  - function: p_six
    args: {{n: {{at: 1, type: i64}}, last: {{at: 2, type: i64}}, minus: {{at: 3, type: i64}}, odd: {{at: 4, type: bool}}}}
    when: {condition}
""", "count", "1000")
    want = [n for n in range(1000) if keep(n)]
    assert [int(float(v)) for (v,) in values(r, "p_six", "n")] == want
    assert r.dropped == {"when": 1000 - len(want)}
    assert r.summary["seen"] == 1000


def test_when_string_prefix(traced):
    _, r = traced("""
probes:
  - function: p_string
    args: {key: {at: 1, type: string}}
    when: key starts_with "user:"
""", "strings")
    assert values(r, "p_string", "key").count(("user:1",)) == 10
    assert {v for (v,) in values(r, "p_string", "key")} == {"user:1", "user:2", "user:"}
    assert r.dropped == {"when": 40}


def test_when_null(traced):
    _, r = traced("""
probes:
  - function: p_struct
    args: {c: {at: 1, type: ptr}}
    when: c != NULL
""")
    assert len(r.spans) == 2 and r.dropped == {"when": 1}


@pytest.mark.alone
def test_min_duration(traced):
    _, r = traced("""
probes:
  - function: p_slow
    args: {ms: {at: 1, type: i64}}
    min_duration: 15ms
""")
    assert [int(float(v)) for (v,) in values(r, "p_slow", "ms")] == [30]
    assert r.dropped == {"min_duration": 1}


def test_min_duration_keeps_the_tree(traced):
    """The children of a call that is left out hang on its parent."""
    p, r = traced("""
probes:
  - function: p_pair
    min_duration: 10s
  - function: [p_outer, p_middle, p_leaf]
""", "nested", name="calls")
    calls = p.calls
    missing = truth.assert_same_tree(calls, r.spans, r.offset_ns, may_miss=True)
    assert {c.function for c in missing} == {"p_pair"}
    assert r.dropped == {"min_duration": len(missing)}


def test_when_keeps_the_tree(traced):
    p, r = traced("""
probes:
  - function: p_pair
    args: {x: {at: 1, type: i64}}
    when: x < 0
  - function: [p_outer, p_middle, p_leaf]
""", "nested", name="calls")
    missing = truth.assert_same_tree(p.calls, r.spans, r.offset_ns, may_miss=True)
    assert {c.function for c in missing} == {"p_pair"}


def test_sample(traced):
    _, r = traced("probes:\n  - function: p_six\n    sample: 0.1\n", "count", "20000")
    # Binomial with p = 0.1, n = 20000: sigma is 42; six of them.
    assert 2000 - 260 < len(r.spans) < 2000 + 260
    assert r.dropped == {"sample": 20000 - len(r.spans)}


def test_sample_all(traced):
    _, r = traced("probes:\n  - function: p_six\n    sample: 1.0\n", "count", "1000")
    assert len(r.spans) == 1000 and not r.dropped


def test_rate(traced):
    begin = time.monotonic()
    _, r = traced("probes:\n  - function: p_six\n    rate: 50/s\n", "count", "1500", "1000")
    seconds = time.monotonic() - begin
    assert 50 <= len(r.spans) <= 50 * (seconds + 1)
    assert r.dropped == {"rate": 1500 - len(r.spans)}


def test_string_that_is_not_resident(traced, tmp_path):
    """A page of a file nobody touched: read where the link can wait for it, otherwise the value says that it is absent."""
    path = write(tmp_path, "words", "a word on an absent page\0" + "x" * 5000)
    drop_cache(path)
    _, r = traced("""
probes:
  - function: p_string
    args: {s: {at: 1, type: string, max: 64}, n: {at: 2, type: i32}}
""", "absent", path)
    rows = {n: s for s, n in values(r, "p_string", "s", "n")}
    assert rows["3"] == "a word on an absent page"
    for n in ("1", "2"):
        if rows[n] != "a word on an absent page":
            assert rows[n] not in ("", "None") and "a word" not in rows[n], f"an empty string passed off as the value: {rows[n]!r}"
            assert r.summary.get("read_faults", 0) > 0 or "read_faults" in str(r.summary)


def drop_cache(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def test_sleepable_reads_absent_pages(traced, tmp_path, info):
    """Where the link has a sleepable variant the absent page is read."""
    if harness.link_missing(info, "multi"):
        pytest.skip("only uprobe_multi and session links have sleepable programs")
    path = write(tmp_path, "words", "fetched from the file\0" + "x" * 5000)
    drop_cache(path)
    _, r = traced("""
probes:
  - function: p_string
    args: {s: {at: 1, type: string, max: 64}}
""", "absent", path)
    assert values(r, "p_string", "s") == [("fetched from the file",)] * 3


def test_floating_point_is_refused(program, tmp_path):
    p = program("args", "values")
    config = write(tmp_path, "f.yaml", "probes:\n  - function: p_floats\n    args:\n      a: {at: 1, type: f64}\n")
    status, _, err = spanhound_once("attach", "--pid", p.pid, "-c", config)
    assert status == 2
    assert "f.yaml:4:" in err and "loating" in err, err


def test_address_not_at_a_boundary(program, tmp_path):
    nm = subprocess.run(["nm", harness.program_path("o2", "calls")], capture_output=True, text=True).stdout
    address = int(next(line.split()[0] for line in nm.splitlines() if line.endswith(" p_middle")), 16)
    p = program("calls", "nested")
    # The first instruction of these functions is longer than one byte when it is not a push; the second byte of the
    # third never is a boundary.
    code = subprocess.run(["objdump", "-d", "--no-show-raw-insn", f"--start-address={address}",
                           f"--stop-address={address + 40}", harness.program_path("o2", "calls")],
                          capture_output=True, text=True).stdout
    starts = [int(line.split(":")[0], 16) for line in code.splitlines() if line.startswith("    ") and ":" in line]
    inside = next(a + 1 for a, b in zip(starts, starts[1:]) if b - a > 1)
    config = write(tmp_path, "a.yaml", f"probes:\n  - address: {hex(inside)}\n")
    status, _, err = spanhound_once("attach", "--pid", p.pid, "-c", config)
    assert status == 2
    assert "a.yaml:2:" in err and "instruction" in err, err


def test_optional(traced):
    _, r = traced("probes:\n  - function: p_six\n  - function: no_such_function\n    optional: true\n")
    assert r.named("p_six")
    assert "no_such_function" in r.stderr


def test_targets_in_yaml(spanhound, program, tmp_path):
    path = str(tmp_path / "yaml-target")
    shutil.copy(harness.program_path("o2", "args"), path)
    p = program("args", "values", path=path)
    s = spanhound("-c", write(tmp_path, "t.yaml", "targets:\n  - name: yaml-targ*\n    service: from-yaml\n"
                              "probes:\n  - function: p_six\n"))
    p.run()
    assert [x["service"] for x in s.stop().spans] == ["from-yaml"]


@pytest.mark.parametrize("env,service,extra", [
    ({"DD_SERVICE": "shop", "DD_ENV": "prod", "DD_VERSION": "1.2.3"}, "shop", {"env": "prod", "version": "1.2.3"}),
    ({"OTEL_SERVICE_NAME": "otel-shop"}, "otel-shop", {}),
    ({"DD_TAGS": "service:tagged,team:core"}, "tagged", {"team": "core"}),
    ({"DD_SERVICE": "first", "OTEL_SERVICE_NAME": "second", "DD_TAGS": "service:third"}, "first", {}),
    ({"OTEL_SERVICE_NAME": "second", "DD_TAGS": "service:third"}, "second", {}),
    ({}, "args", {}),
])
def test_service(spanhound, program, env, service, extra):
    p = program("args", "values", env=env)
    s = spanhound("--pid", p.pid, "-f", "p_six")
    p.run()
    span = s.stop().spans[0]
    assert span["service"] == service
    for k, v in extra.items():
        assert span["meta"].get(k) == v, (k, span["meta"])


def test_service_order(spanhound, program, tmp_path):
    """probe > target > the target's own environment"""
    p = program("args", "values", env={"DD_SERVICE": "environment"})
    s = spanhound("-c", write(tmp_path, "t.yaml", f"""
targets:
  - pid: {p.pid}
    service: target
probes:
  - function: p_six
    span: {{service: probe}}
  - function: p_seven
"""))
    p.run()
    r = s.stop()
    assert {x["resource"]: x["service"] for x in r.spans} == {"p_six": "probe", "p_seven": "target"}


def test_what_every_span_says(spanhound, program):
    p = program("calls", "nested")
    s = spanhound("--pid", p.pid, "-f", "p_*")
    p.run()
    r = s.stop()
    roots = [x for x in r.spans if not x["parent_id"]]
    assert len(roots) == 22
    for x in r.spans:
        assert x["metrics"]["thread.id"] == p.pid
        assert x["meta"]["thread.name"] == "calls"
        assert x["meta"]["code.function"] == x["resource"]
        assert x["trace_id_128"].lower().endswith(f"{x['trace_id']:016x}")
        # The upper half: 32 bits of Unix seconds, then zeroes.
        high = int(x["trace_id_128"], 16) >> 64
        assert high & 0xffffffff == 0 and abs((high >> 32) - time.time()) < 300
    for x in roots:
        assert x["metrics"]["process_id"] == p.pid
        assert x["meta"]["language"] and len(x["meta"]["runtime-id"].replace("-", "")) == 32
    assert abs(roots[0]["start"] - time.time_ns()) < 300e9
