# SPDX-License-Identifier: Apache-2.0
"""What is installed: manual pages, completion, unit, default configuration."""
import glob
import os
import re
import shutil
import subprocess

import pytest

from conftest import ROOT

CONFIG = os.path.join(ROOT, "deploy", "config.yaml")


def lines_of(command, pattern):
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return set(re.findall(pattern, out, re.M))


def page(installed, name):
    section = name.rsplit(".", 1)[1]
    path = os.path.join(installed, f"usr/local/share/man/man{section}", name)
    with open(path, encoding="utf-8") as f:
        return f.read().replace("\\-", "-")


@pytest.fixture(scope="module")
def commands(binary):
    found = lines_of([binary, "--help"], r"^  ([a-z]+)  +[a-z]")
    found.discard("spanhound")
    assert {"attach", "run", "check", "serve"} <= found
    return found


def test_every_command_has_a_page(installed, commands):
    pages = {os.path.basename(p) for p in glob.glob(f"{installed}/usr/local/share/man/man1/*")}
    assert pages == {"spanhound.1"} | {f"spanhound-{c}.1" for c in commands}
    main = page(installed, "spanhound.1")
    assert all(f"spanhound-{c} (1)" in main for c in commands)


def test_every_option_is_in_its_page(installed, binary, commands):
    for c in commands:
        options = lines_of([binary, c, "--help"], r"^  +(?:-\w, )?(--[a-z][a-z-]*)")
        text = page(installed, f"spanhound-{c}.1")
        found = set(re.findall(r"^\\fB(?:-\w, )?(--[a-z][a-z-]*)", text, re.M))
        assert options and found == options, c


def test_every_key_is_in_its_page(installed, binary):
    keys = subprocess.run([binary, "check", "--keys"], capture_output=True, text=True, check=True).stdout
    want = re.findall(r"^ *([a-z_]+):  ", keys, re.M)
    assert want == re.findall(r"^\.B ([a-z_]+)$", page(installed, "spanhound.yaml.5"), re.M)


def test_pages_are_well_formed(installed):
    if not shutil.which("mandoc"):
        pytest.skip("needs mandoc")
    pages = glob.glob(f"{installed}/usr/local/share/man/man*/*")
    p = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", *pages], capture_output=True, text=True)
    # References to pages of packages that are not installed are no mistake.
    bad = [line for line in p.stdout.splitlines() if "referenced manual not found" not in line]
    assert not bad, "\n".join(bad)


def test_completion_completes(installed, commands):
    script = f"""source {installed}/usr/local/share/bash-completion/completions/spanhound
COMP_WORDS=(spanhound ''); COMP_CWORD=1; _spanhound; echo "${{COMPREPLY[@]}}"
COMP_WORDS=(spanhound attach --na); COMP_CWORD=2; _spanhound; echo "${{COMPREPLY[@]}}" """
    p = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    first, second = p.stdout.splitlines()
    assert commands <= set(first.split()) and second == "--name"


def test_default_configuration(binary, tmp_path):
    """It is right as it stands, and what it shows as comments is right, too."""
    with open(CONFIG, encoding="utf-8") as f:
        text = f.read()
    shown = re.sub(r"^#(?! \S)", "", text, flags=re.M)
    assert shown != text
    for number, config in enumerate((text, shown)):
        path = tmp_path / f"{number}.yaml"
        path.write_text(config, encoding="utf-8")
        p = subprocess.run([binary, "check", str(path)], capture_output=True, text=True)
        assert p.returncode == 0, p.stderr + p.stdout
