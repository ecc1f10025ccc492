# SPDX-License-Identifier: Apache-2.0
"""Our statistics against the Agent's own concentrator, built from its module: the same groups, counts and sketch bytes."""
import os
import shutil
import subprocess

import pytest

import harness

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(harness.OUTPUT, "crosscheck")


@pytest.fixture(scope="module")
def programs():
    if not shutil.which("go"):
        pytest.skip("needs Go")
    made = subprocess.run(["make", "-s", "-C", os.path.join(HERE, "..", "crosscheck"), f"O={os.path.abspath(harness.OUTPUT)}"],
                          capture_output=True, text=True)
    if made.returncode and ("proxy.golang.org" in made.stderr or "dial tcp" in made.stderr):
        pytest.skip("the Agent's module cannot be fetched here")
    assert made.returncode == 0, made.stderr


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(1, 6))
def test_concentrator(programs, tmp_path, seed):
    spans, payloads = str(tmp_path / "spans.json"), str(tmp_path / "payloads")
    subprocess.run([os.path.join(OUT, "spans"), str(seed), "5000", spans, payloads], check=True)
    compared = subprocess.run([os.path.join(OUT, "concentrator"), spans, payloads], capture_output=True, text=True)
    assert compared.returncode == 0, compared.stdout + compared.stderr
    assert " 0 differences" in compared.stdout
