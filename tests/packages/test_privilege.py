# SPDX-License-Identifier: Apache-2.0
"""The README's table of capabilities, each row tried: as nobody, with some of them and no others, on a process of another
user."""
import os
import shutil
import subprocess
import tempfile

import harness
import pytest

pytestmark = pytest.mark.skipif(not shutil.which("setpriv") or os.geteuid() != 0, reason="needs setpriv, and root")
NOBODY = 65534
OTHER = 65533
NEEDED = ("bpf", "perfmon", "sys_ptrace")


@pytest.fixture(scope="module")
def place():
    """What nobody may enter: binaries, and a program that nobody may read."""
    folder = tempfile.mkdtemp(prefix="spanhound-privilege-")
    os.chmod(folder, 0o755)
    shutil.copy(harness.BINARY, f"{folder}/spanhound")
    for name, mode in (("open", 0o755), ("closed", 0o711)):
        shutil.copy(harness.program_path("o2", "hot"), f"{folder}/{name}")
        os.chmod(f"{folder}/{name}", mode)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def target(place):
    """target("open"): the hot loop, run by another user."""
    running = []

    def start(name):
        p = subprocess.Popen(["setpriv", "--reuid", str(OTHER), "--regid", str(OTHER), "--clear-groups", f"{place}/{name}", "1", "100", "0"],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        running.append(p)
        assert p.stdout.readline().startswith("pid ")
        p.stdin.write("go\n")
        p.stdin.flush()
        return p.pid
    yield start
    for p in running:
        p.kill()
        p.communicate()


def attach(place, pid, have, *words):
    """(status, what it said) of spanhound as nobody with those capabilities."""
    caps = "-all" + "".join(f",+{c}" for c in have)
    p = subprocess.run(["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", "--inh-caps", caps,
                        "--ambient-caps", caps, "--bounding-set", caps, "--no-new-privs", f"{place}/spanhound", "attach",
                        "--pid", str(pid), "--no-http", "-f", "p_hot", "--count", "5", "--duration", "20s", "--export", "console", *words],
                       capture_output=True, text=True, timeout=harness.PATIENCE_S * 2, cwd="/")
    return p.returncode, p.stdout + p.stderr


def test_least(place, target):
    status, said = attach(place, target("open"), NEEDED)
    assert status == 0 and " p_hot\n" in said, said


@pytest.mark.parametrize("without", ("bpf", "perfmon"))
def test_nothing_without(place, target, without):
    status, said = attach(place, target("open"), [c for c in NEEDED if c != without])
    assert status == 1 and "CAP_BPF" in said and "CAP_PERFMON" in said, said


ALL = ("bpf", "perfmon", "sys_ptrace", "dac_read_search")


@pytest.mark.parametrize("name", (pytest.param("open", marks=pytest.mark.skipif(not harness.SOAK, reason="long: SPANHOUND_SOAK=1")), "closed"))
def test_every_reduced_set(place, target, name):
    """Each of the sixteen: it works, or says what is missing, and nothing else."""
    pid = target(name)
    for bits in range(1 << len(ALL)):
        have = [c for i, c in enumerate(ALL) if bits >> i & 1]
        needed = ALL if name == "closed" else NEEDED
        missing = [c for c in needed if c not in have]
        status, said = attach(place, pid, have)
        if not missing:
            assert status == 0 and " p_hot\n" in said, (have, said)
            continue
        assert status in (1, 2) and "seen" not in said, (have, said)
        # One after the other: without the first two nothing else can be found out.
        want = {"bpf", "perfmon"} if set(missing) & {"bpf", "perfmon"} else set(missing[:1])
        assert set(c for c in ALL if "CAP_" + c.upper() in said) == want, (have, said)


@pytest.mark.parametrize("link", ("session", "multi", "perf"))
def test_links_are_refused_with_the_reason(place, target, link):
    pid = target("open")
    status, said = attach(place, pid, NEEDED, "--link", link)
    assert status == 0 or link == "perf" and "CAP_SYS_ADMIN" in said or "this kernel has no" in said, said
    status, said = attach(place, pid, (*NEEDED, "sys_admin"), "--link", link)
    assert status == 0 or "this kernel has no" in said, said


def test_deleted_programs_need_checkpoint_restore(place, target):
    shutil.copy(f"{place}/open", f"{place}/deleted")
    pid = target("deleted")
    os.unlink(f"{place}/deleted")
    status, said = attach(place, pid, NEEDED)
    assert status == 2 and "needs CAP_CHECKPOINT_RESTORE and CAP_DAC_READ_SEARCH" in said, said
    status, said = attach(place, pid, (*NEEDED, "checkpoint_restore", "dac_read_search"))
    assert status == 0 and " p_hot\n" in said, said
