# SPDX-License-Identifier: Apache-2.0
"""The configuration's schema and the parser say the same; the default file is a good one."""
import glob
import json
import os
import re

import jsonschema
import pytest
import yaml

import harness

CORPUS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fuzz", "probe_list.corpus")


@pytest.fixture(scope="module")
def schema():
    status, out, err = harness.spanhound_once("config", "schema")
    assert status == 0, err
    found = json.loads(out)
    jsonschema.Draft202012Validator.check_schema(found)
    return found


# A document for each map of keys, with a place for one more key.
PLACES = {
    None: "{}: 1\n",
    "target": "targets:\n  - {}: 1\n",
    "exclusion": "exclude:\n  - {}: 1\n",
    "containers": "containers:\n  {}: 1\n",
    "probe": "probes:\n  - {}: 1\n",
    "hand_off": "handoffs:\n  - {}: 1\n",
    "key": "handoffs:\n  - key:\n      {}: 1\n",
    "span_rule": "span_rules:\n  - {}: 1\n",
    "match": "span_rules:\n  - match:\n      {}: 1\n",
    "set": "span_rules:\n  - set:\n      {}: 1\n",
    "add_link": "span_rules:\n  - add_link:\n      {}: 1\n",
    "add_event": "span_rules:\n  - add_event:\n      {}: 1\n",
    "sampling": "sampling:\n  {}: 1\n",
    "propagation": "propagation:\n  {}: 1\n",
    "capture": "capture:\n  {}: 1\n",
    "agent": "agent:\n  {}: 1\n",
    "limits": "limits:\n  {}: 1\n",
    "policy": "policy:\n  {}: 1\n",
    "control": "control:\n  {}: 1\n",
    "health": "health:\n  {}: 1\n",
    "span": "probes:\n  - function: x\n    span:\n      {}: 1\n",
    "metric": "probes:\n  - function: x\n    metric:\n      {}: 1\n",
    "argument": "probes:\n  - function: x\n    args:\n      a:\n        {}: 1\n",
    "return": "probes:\n  - function: x\n    return:\n      {}: 1\n",
    "error": "probes:\n  - function: x\n    error:\n      {}: 1\n",
}


def test_every_key_of_one_is_in_the_other(schema, tmp_path):
    maps = {None: schema["properties"], **{k: v["properties"] for k, v in schema["$defs"].items()}}
    assert set(maps) == set(PLACES), "a map of keys that this test does not know"
    for name, properties in maps.items():
        path = harness.write(tmp_path, "one.yaml", PLACES[name].format("qqqqqqqqqqqqqqqqqqq"))
        _, _, err = harness.spanhound_once("check", path)
        known = re.search(r"unknown key 'q+' in [^;]*; there are: (.*)", err)
        assert known, (name, err)
        assert set(known[1].split(", ")) == set(properties), name


def test_what_the_parser_takes_the_schema_takes(schema):
    validator = jsonschema.Draft202012Validator(schema)
    checked = 0
    for path in sorted(glob.glob(os.path.join(CORPUS, "*"))):
        if harness.spanhound_once("check", path)[0] != 0:
            continue
        with open(path, encoding="utf-8") as f:
            document = yaml.safe_load(f)
        errors = [f"{'/'.join(map(str, e.path))}: {e.message[:200]}" for e in validator.iter_errors(document)]
        assert not errors, (path, errors)
        checked += 1
    assert checked >= 3
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({"probes": [{"functoin": "x"}]})
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({"limits": {"max_spans": 0}})


def test_the_default_file(schema, tmp_path):
    status, out, err = harness.spanhound_once("config", "default")
    assert status == 0, err
    path = harness.write(tmp_path, "default.yaml", out)
    assert harness.spanhound_once("check", path)[0] == 0
    jsonschema.validate(yaml.safe_load(out), schema)
    assert all(re.search(rf"^# +{key}:", out, re.M) for key in schema["properties"])
    assert harness.spanhound_once("config")[0] == 2
