# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))
import harness  # noqa: E402

PACKAGES = os.environ.get("SPANHOUND_PACKAGES") == "1"


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: builds archives and images, runs containers: only with SPANHOUND_PACKAGES=1")


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("slow") and not PACKAGES:
            item.add_marker(pytest.mark.skip(reason="builds and runs images: run with make test-packages"))


@pytest.fixture(scope="session")
def binary():
    return harness.BINARY


def variables():
    """Those that the make was called with that started the tests: with others everything would be built anew."""
    words = [w for w in os.environ.get("MAKEFLAGS", "").split() if "=" in w and not w.startswith("-")]
    if not words:
        with open(os.path.join(harness.OUTPUT, "flags"), encoding="utf-8") as f:
            words = ["WERROR=1"] if "-Werror" in f.read() else []
    return [w for w in words if not w.startswith("O=")]


@pytest.fixture(scope="session")
def make():
    """make("deb"), in the folder that is tested."""
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    # As the Makefile names it: with another name of the same folder everything would be built anew.
    output = os.path.relpath(harness.OUTPUT, ROOT) if harness.OUTPUT.startswith(os.path.realpath(ROOT) + "/") else harness.OUTPUT

    def build(*words):
        p = subprocess.run(["make", "-s", "--no-print-directory", *words, *variables(), f"O={output}"], cwd=ROOT,
                           text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env)
        assert p.returncode == 0, p.stdout[-6000:]
    return build


@pytest.fixture(scope="session")
def installed(make, tmp_path_factory):
    """Where `make install` put what a user gets."""
    folder = tmp_path_factory.mktemp("installed")
    make("install", f"DESTDIR={folder}", "PREFIX=/usr/local")
    return str(folder)
