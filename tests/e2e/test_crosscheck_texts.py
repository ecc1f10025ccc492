# SPDX-License-Identifier: Apache-2.0
"""What the Agent's own code makes of names, queries, commands and URLs is what ours makes of them."""
import os
import shutil
import subprocess

import pytest

import harness

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(harness.OUTPUT, "crosscheck")
SECONDS = 170 if harness.SOAK else 6


@pytest.mark.timeout(900)
def test_texts():
    if not shutil.which("go"):
        pytest.skip("needs Go")
    made = subprocess.run(["make", "-s", "-C", os.path.join(HERE, "..", "crosscheck", "texts"),
                           f"O={os.path.abspath(harness.OUTPUT)}"], capture_output=True, text=True)
    if made.returncode and ("proxy.golang.org" in made.stderr or "dial tcp" in made.stderr):
        pytest.skip("the Agent's module cannot be fetched here")
    assert made.returncode == 0, made.stderr
    compared = subprocess.run([os.path.join(OUT, "texts"), os.path.join(OUT, "texts-ours"), str(SECONDS)],
                              capture_output=True, text=True)
    assert compared.returncode == 0, compared.stdout + compared.stderr
    assert compared.stdout.count(" 0 differ") == 17, compared.stdout
