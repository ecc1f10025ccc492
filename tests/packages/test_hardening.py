# SPDX-License-Identifier: Apache-2.0
"""What the compiler was asked for is in the binary."""
import glob
import os
import platform
import re
import subprocess

import harness
import pytest


def readelf(*words):
    p = subprocess.run(["readelf", "-W", *words], capture_output=True, text=True, check=True)
    return p.stdout


@pytest.fixture(scope="module", autouse=True)
def plain_build():
    with open(os.path.join(harness.OUTPUT, "flags"), encoding="utf-8") as f:
        flags = f.read()
    if "-fsanitize" in flags or " -O0 " in flags:
        pytest.skip("a build for debugging")


@pytest.fixture(scope="module")
def headers(binary):
    return readelf("-l", binary)


@pytest.fixture(scope="module")
def dynamic(binary):
    return readelf("-d", binary)


def test_position_independent(binary, dynamic):
    assert re.search(r"Type:\s+DYN", readelf("-h", binary))
    assert re.search(r"FLAGS_1\).*\bPIE\b", dynamic)


def test_relocations_are_read_only(headers, dynamic):
    """Full RELRO: everything is bound before main() and then sealed."""
    assert "GNU_RELRO" in headers
    assert re.search(r"FLAGS\).*BIND_NOW|FLAGS_1\).*\bNOW\b", dynamic)
    assert "PLTRELSZ" not in dynamic or "BIND_NOW" in dynamic


def test_nothing_is_writable_and_executable(headers):
    assert re.search(r"GNU_STACK.* RW  ", headers), headers
    assert not re.search(r"LOAD.* RWE ", headers), headers


def test_no_search_path(dynamic):
    """A library next to us, or where an environment says, is nobody's way in."""
    assert "RPATH" not in dynamic and "RUNPATH" not in dynamic


def test_stack_and_libc_are_guarded(binary):
    symbols = readelf("--dyn-syms", binary)
    assert "__stack_chk_fail" in symbols
    guarded = set(re.findall(r"\b(__\w+_chk)@", symbols))
    assert {"__snprintf_chk", "__memcpy_chk"} & guarded and len(guarded) >= 3, guarded


@pytest.mark.skipif(platform.machine() != "x86_64", reason="branch tracking of x86-64")
def test_branches_are_marked():
    """Of our objects; libraries without the mark are what the linked binary lacks it for."""
    objects = glob.glob(os.path.join(harness.OUTPUT, "userspace", "base", "*.o"))
    assert objects
    for o in objects:
        assert "IBT, SHSTK" in readelf("-n", o), o


def test_no_privilege_in_the_file(installed):
    """No setuid, nothing that others may write."""
    for folder, _, files in os.walk(installed):
        for name in files:
            mode = os.stat(os.path.join(folder, name)).st_mode
            assert not mode & 0o6022, f"{folder}/{name} {mode:o}"
