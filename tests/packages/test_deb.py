# SPDX-License-Identifier: Apache-2.0
"""The Debian package: what is in it, what it depends on, and that installing and purging leaves nothing behind."""
import glob
import os
import re
import shutil
import subprocess

import harness
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not shutil.which("dpkg-shlibdeps"), reason="needs dpkg-dev")]


def run(*command):
    p = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert p.returncode == 0, f"{command}\n{p.stdout}"
    return p.stdout


@pytest.fixture(scope="module")
def deb(make):
    make("deb")
    found = glob.glob(os.path.join(harness.OUTPUT, "packages", "spanhound_*.deb"))
    assert len(found) == 1
    return found[0]


def test_content(deb):
    names = {line.split()[5] for line in run("dpkg-deb", "-c", deb).splitlines()}
    for name in ("./usr/bin/spanhound", "./lib/systemd/system/spanhound.service", "./etc/spanhound/config.yaml",
                 "./etc/spanhound/conf.d/", "./usr/share/bash-completion/completions/spanhound",
                 "./usr/share/man/man1/spanhound.1.gz", "./usr/share/man/man5/spanhound.yaml.5.gz",
                 "./usr/share/doc/spanhound/copyright"):
        assert name in names, name
    for line in run("dpkg-deb", "-c", deb).splitlines():
        assert line.split()[1] == "root/root", line


def test_dependencies(deb):
    depends = run("dpkg-deb", "-f", deb, "Depends")
    for library in ("libc6", "libbpf1", "libcurl4", "libfyaml0", "libseccomp2"):
        assert library in depends, depends
    assert not re.search("@[A-Z]+@", run("dpkg-deb", "-I", deb))


def test_same_source_same_bytes(deb, make):
    with open(deb, "rb") as f:
        first = f.read()
    os.unlink(deb)
    make("deb")
    with open(deb, "rb") as f:
        assert f.read() == first


@pytest.mark.skipif(os.geteuid() != 0, reason="dpkg installs as root")
def test_install_upgrade_purge(deb, tmp_path):
    """In a root of its own; maintainer scripts run as on a system without systemd."""
    root = tmp_path / "root"
    for folder in ("var/lib/dpkg/info", "var/lib/dpkg/updates"):
        (root / folder).mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    dpkg = ("dpkg", f"--root={root}", "--force-depends", "--force-script-chrootless", f"--log={tmp_path}/log")
    run(*dpkg, "-i", deb)
    config = root / "etc/spanhound/config.yaml"
    assert run(str(root / "usr/bin/spanhound"), "--version").startswith("spanhound ")
    config.write_text("# mine\n", encoding="utf-8")
    run(*dpkg, "--force-confold", "-i", deb)
    assert config.read_text(encoding="utf-8") == "# mine\n"
    run(*dpkg, "-r", "spanhound")
    assert config.exists() and not (root / "usr/bin/spanhound").exists()
    run(*dpkg, "-P", "spanhound")
    assert not (root / "etc/spanhound").exists()
