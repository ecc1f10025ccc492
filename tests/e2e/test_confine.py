# SPDX-License-Identifier: Apache-2.0
"""What spanhound gives up once it is attached, thread by thread as the kernel tells it, and that nothing which still is to
be done needs what was given up. That refused system calls are none of its own shows everywhere: all tests run confined."""
import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import threading

import harness
import pytest
from harness import spanhound_once, target_environment, wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: nobody else has what is given up")
NOBODY = 65534
# linux/capability.h
DAC_OVERRIDE, KILL, SYS_PTRACE, SYS_ADMIN, DAC_READ_SEARCH, PERFMON, BPF, CHECKPOINT_RESTORE = 1, 5, 19, 21, 2, 38, 39, 40
NEEDED = {BPF, PERFMON, SYS_PTRACE, DAC_READ_SEARCH, CHECKPOINT_RESTORE}


def fields_of(path):
    with open(path, encoding="utf-8") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def capabilities(status, which):
    bits = int(status[which], 16)
    return {n for n in range(64) if bits >> n & 1}


def threads_of(pid):
    """{name: fields of its status}"""
    found = {}
    for path in glob.glob(f"/proc/{pid}/task/*/status"):
        status = fields_of(path)
        found[status["Name"]] = status
    return found


def works(info, part):
    return info["confinement"][part]["works"]


def test_what_is_kept(spanhound, hot, info):
    h = hot(rate=1000).go()
    s = spanhound("--pid", h.pid, "-f", "p_hot")
    s.wait_spans(1)
    threads = threads_of(s.pid)
    assert {"spanhound", "spanhound-rings", "export"} <= set(threads), threads.keys()
    own = capabilities(fields_of("/proc/self/status"), "CapPrm")
    for name, status in threads.items():
        kept = capabilities(status, "CapPrm")
        assert kept == (set() if name == "export" else NEEDED & own), f"{name} has {kept}"
        assert capabilities(status, "CapEff") == kept
        for none in ("CapInh", "CapAmb", "CapBnd"):
            assert not capabilities(status, none), f"{name}: {none} {status[none]}"
        assert status["NoNewPrivs"] == "1", name
        assert status["Seccomp"] == ("2" if works(info, "seccomp") else "0"), name
    got = s.stop()
    assert got.named("p_hot")
    h.stop()


def test_status(spanhound, hot, info, tmp_path):
    """What the daemon says of itself is what the kernel says of it."""
    control = os.path.join(tmp_path, "control.sock")
    h = hot(rate=1000)
    config = harness.write(tmp_path, "config.yaml", f"targets:\n  - pid: {h.pid}\ncontrol: {{socket: {control}}}\n")
    s = spanhound("-c", config, command="serve")
    wait_for(lambda: "export" in threads_of(s.pid), "the thread that exports")

    def said():
        status, out, err = spanhound_once("ctl", "--socket", control, "status")
        assert status == 0, err
        return json.loads(out)["confinement"]

    wait_for(lambda: said()["receivers"], "it to be confined")
    kept = capabilities(threads_of(s.pid)["spanhound"], "CapEff")
    names = {BPF: "CAP_BPF", PERFMON: "CAP_PERFMON", SYS_PTRACE: "CAP_SYS_PTRACE", DAC_READ_SEARCH: "CAP_DAC_READ_SEARCH",
             CHECKPOINT_RESTORE: "CAP_CHECKPOINT_RESTORE", SYS_ADMIN: "CAP_SYS_ADMIN", DAC_OVERRIDE: "CAP_DAC_OVERRIDE"}
    got = said()
    assert set(got["capabilities"]) == {names[n] for n in kept}
    assert set(got["session"]) == {p for p in ("capabilities", "seccomp") if works(info, p)}
    assert set(got["receivers"]) == {p for p in ("capabilities", "seccomp", "landlock") if works(info, p)}
    s.stop(signal.SIGTERM)
    s = spanhound("-c", config, "--confine", "none", command="serve")
    got = said()
    assert got["session"] == got["receivers"] == [] and "CAP_BPF" in got["capabilities"]
    s.stop(signal.SIGTERM)


def test_said(hot):
    h = hot(rate=100).go()
    status, _, err = spanhound_once("attach", "--pid", h.pid, "-f", "p_hot", "--count", "1", "--export", "json:/dev/null", "-v")
    assert status == 0, err
    assert "debug: confined: of all capabilities these are kept:" in err and "CAP_BPF" in err, err
    assert "debug: thread export is confined: no capabilities," in err, err
    h.stop()


@pytest.mark.parametrize("what", ("none", "capabilities", "seccomp,landlock"))
def test_switched_off(spanhound, hot, info, what):
    h = hot(rate=1000).go()
    own = fields_of("/proc/self/status")
    s = spanhound("--pid", h.pid, "-f", "p_hot", "--confine", what)
    s.wait_spans(1)
    for name, status in threads_of(s.pid).items():
        assert (status["CapPrm"] == own["CapPrm"]) == ("capabilities" not in what), f"{name}: {status['CapPrm']}"
        filtered = "seccomp" in what and works(info, "seccomp")
        assert status["Seccomp"] == ("2" if filtered else own["Seccomp"]), f"{name}: {status['Seccomp']}"
        if what == "none":
            assert status["NoNewPrivs"] == own["NoNewPrivs"] and status["CapBnd"] == own["CapBnd"], name
    s.stop()
    h.stop()


def test_mistake(hot):
    status, _, err = spanhound_once("attach", "--pid", os.getpid(), "--confine", "capabilities,secomp")
    assert status == 2 and "--confine 'capabilities,secomp' is none of all, none" in err, err


def test_info(info):
    parts = info["confinement"]
    assert set(parts) == {"capabilities", "seccomp", "landlock"}
    for name, part in parts.items():
        assert part["works"] == (part["why_not"] == ""), (name, part)
    status, out, err = spanhound_once("info")
    assert all(f" {name} " in out for name in parts), out


# --- the child of `run` is as it would be without us ---------------------------------------------------------------------

WHO = ["sh", "-c", "ulimit -a; umask; grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp|SigPnd|SigBlk|SigIgn|SigCgt|Threads)' /proc/self/status"]


def test_child_of_run():
    plain = subprocess.run(WHO, capture_output=True, text=True, env=target_environment(), stdin=subprocess.DEVNULL)
    status, out, err = spanhound_once("run", "--export", "json:/dev/null", "-q", "--", *WHO)
    assert out == plain.stdout and "CapBnd" in out, f"{out}\n{plain.stdout}\n{err}"


@pytest.mark.skipif(not shutil.which("setpriv"), reason="needs setpriv")
def test_child_of_run_that_became_somebody_else(tmp_path):
    """It gets the signals that we got, all the same."""
    script = "trap 'exit 9' TERM; echo trapped >&2; while :; do sleep 0.1; done"
    s = harness.Spanhound(str(tmp_path), command="run", wait_ready=False,
                          after=("--", "setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", "bash", "-c", script))
    s.wait_line("trapped")
    with open(f"/proc/{s.pid}/task/{s.pid}/children", encoding="utf-8") as f:
        children = f.read().split()
    s.process.send_signal(signal.SIGTERM)
    try:
        assert s.wait_exit() == 9, s.stderr
    finally:
        subprocess.run(["kill", "-9", *children], stderr=subprocess.DEVNULL)


# --- what is done later, confined ----------------------------------------------------------------------------------------

def test_later_process_of_another_user(spanhound, tmp_path):
    """Found, looked at and probed when all is given up already: one that nobody may read, and is deleted already."""
    path = str(tmp_path / "closed")
    os.chmod(tmp_path, 0o711)
    shutil.copy(harness.program_path("o2", "hot"), path)
    os.chmod(path, 0o711)
    s = spanhound("--exe", path, "-f", "p_hot", "--wait", wait_ready=False)
    s.wait_line("nothing matches yet")
    wait_for(lambda: capabilities(threads_of(s.pid).get("spanhound-rings", {"CapPrm": "fff"}), "CapPrm") <= NEEDED, "its confinement")

    p = subprocess.Popen(["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", path, "1", "1000", "0"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=target_environment())
    try:
        assert p.stdout.readline().startswith("pid ")
        os.unlink(path)
        s.wait_ready()
        p.stdin.write("go\n")
        p.stdin.flush()
        s.wait_spans(5)
    finally:
        p.terminate()
        p.communicate()
    assert s.stop().named("p_hot")


def test_summary_where_only_root_may_write(spanhound, hot, tmp_path):
    """Made at the end, in a folder of somebody else's."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, NOBODY, NOBODY)
    os.chmod(theirs, 0o755)
    h = hot(rate=1000).go()
    status, _, err = spanhound_once("attach", "-v", "--pid", h.pid, "-f", "p_hot", "--count", "1", "--export",
                                    f"json:{theirs}/spans", "--summary", f"json:{theirs}/summary")
    assert status == 0, err
    assert "CAP_DAC_OVERRIDE stays, for" in err, err
    assert json.loads((theirs / "summary").read_text())["exported"] >= 1
    h.stop()


def test_socket_of_somebody_else(spanhound, hot, tmp_path):
    """An Agent's socket that only its owner may write to."""
    path = str(tmp_path / "apm.socket")
    seen = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        os.chown(path, NOBODY, NOBODY)
        os.chmod(path, 0o600)
        listener.listen(8)

        def answer():
            while True:
                try:
                    c, _ = listener.accept()
                except OSError:
                    return
                with c:
                    head = c.recv(65536)
                    seen.append(head.split(b" HTTP", 1)[0])
                    c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        threading.Thread(target=answer, daemon=True).start()
        h = hot(rate=1000).go()
        s = spanhound("--pid", h.pid, "-f", "p_hot", "--export", f"datadog:unix://{path}", "-v", export=False)
        wait_for(lambda: any(b"/traces" in line for line in seen), "traces at the socket")
        export = threads_of(s.pid)["export"]
        assert capabilities(export, "CapPrm") == {DAC_OVERRIDE}
        s.stop(status=None)
        assert "thread export is confined: CAP_DAC_OVERRIDE alone" in s.stderr
        h.stop()
        listener.shutdown(socket.SHUT_RDWR)
