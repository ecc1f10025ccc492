# SPDX-License-Identifier: Apache-2.0
"""The daemon: what it tells the service manager, what it finds later, whose configuration it believes."""
import json
import os
import shutil
import signal
import socket
import subprocess
import sys

import pytest

import harness
from harness import wait_for


class Manager:
    """The socket of a service manager."""

    def __init__(self, tmp):
        self.path = os.path.join(str(tmp), "notify.sock")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(harness.PATIENCE_S)

    def wait(self, word):
        while True:
            said = self.socket.recv(4096).decode()
            if word in said.split("\n"):
                return said


@pytest.fixture
def manager(tmp_path):
    m = Manager(tmp_path)
    yield m
    m.socket.close()


def test_life(spanhound, program, tmp_path, manager):
    p = program("calls", "nested")
    config = harness.write(tmp_path, "config.yaml", f"targets:\n  - pid: {p.pid}\nprobes:\n  - function: p_*\n")
    s = spanhound("-c", config, command="serve", env={"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "500000"})
    manager.wait("READY=1")
    p.run()
    manager.wait("WATCHDOG=1")
    r = s.stop(signal.SIGTERM)
    manager.wait("STOPPING=1")
    assert len(r.spans) == len(p.calls)
    assert "seen" not in r.stderr, "a daemon prints no table"


def test_without_targets_yet(spanhound, hot, tmp_path):
    """What is not there is waited for; what goes leaves the daemon running."""
    copy = os.path.join(tmp_path, "later")
    shutil.copy(harness.program_path("o2", "hot"), copy)
    config = harness.write(tmp_path, "config.yaml", f"targets:\n  - exe: {copy}\nprobes:\n  - function: p_hot\n")
    s = spanhound("-c", config, command="serve")
    assert "ready: 0 processes" in s.ready_line
    first = hot(1, 1000, path=copy).go()
    wait_for(lambda: harness.read_spans_so_far(s.spans_path), "its spans")
    first.stop()
    second = hot(1, 1000, path=copy).go()
    wait_for(lambda: [x for x in harness.read_spans_so_far(s.spans_path) if x["metrics"].get("process_id") == second.pid],
             "the next one's")
    out = second.stop()
    r = s.stop(signal.SIGTERM)
    assert len([x for x in r.spans if x["metrics"].get("process_id") == second.pid]) <= out["calls"]
    assert not r.dropped


LISTENER = """
import socket, sys
print("started", flush=True)
sys.stdin.readline()
s = socket.socket()
s.bind(("127.0.0.1", 0))
s.listen()
print(s.getsockname()[1], flush=True)
while True:
    c, _ = s.accept()
    c.recv(4096)
    c.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n")
    c.close()
"""


def request(port):
    with socket.create_connection(("127.0.0.1", port)) as c:
        c.sendall(b"GET /heard HTTP/1.1\r\nHost: x\r\n\r\n")
        while c.recv(4096):
            pass


def test_who_begins_to_listen_is_found(spanhound, background, tmp_path):
    script = harness.write(tmp_path, "listener.py", LISTENER)
    config = harness.write(tmp_path, "config.yaml",
                           f"targets:\n  - listening: true\n    cmdline: '*{script}*'\n    service: heard\n")
    s = spanhound("-c", config, command="serve")
    p = background(sys.executable, script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    p.stdout.readline()
    p.stdin.write("\n")
    p.stdin.flush()
    port = int(p.stdout.readline())

    def seen():
        request(port)
        return any(x["service"] == "heard" for x in harness.read_spans_so_far(s.spans_path))

    wait_for(seen, "a request of the one that listens")
    s.stop(signal.SIGTERM)


def test_include(spanhound, program, tmp_path):
    p = program("calls", "nested")
    os.mkdir(tmp_path / "conf.d")
    harness.write(tmp_path / "conf.d", "10-target.yaml", f"targets:\n  - pid: {p.pid}\n    service: included\n")
    harness.write(tmp_path / "conf.d", "20-probes.yaml", "# what to look at\nprobes:\n  - function: p_*\ntags: {team: a}\n")
    config = harness.write(tmp_path, "config.yaml", "include: conf.d/*.yaml\n")
    s = spanhound("-c", config, command="serve")
    p.run()
    r = s.stop(signal.SIGTERM)
    assert len(r.spans) == len(p.calls)
    assert {(x["service"], x["meta"]["team"]) for x in r.spans} == {("included", "a")}


def test_mistakes_in_an_included_file(tmp_path):
    harness.write(tmp_path, "more.yaml", "targets:\n  - nmae: x\nlimits: {max_spans: 3}\n")
    config = harness.write(tmp_path, "config.yaml", "include: [more.yaml, none.yaml]\nprobes:\n  - functoin: x\n")
    status, _, err = harness.spanhound_once("check", config)
    assert status == 2
    assert f"{config}:3:5: error: unknown key 'functoin'" in err
    assert f"{config}:1:22: error: include: cannot read {tmp_path}/none.yaml: No such file" in err
    assert f"{tmp_path}/more.yaml:2:5: error: unknown key 'nmae' in a target; did you mean 'name'?\n      - nmae: x" in err
    assert f"{tmp_path}/more.yaml:3:1: error: unknown key 'limits' in an included file" in err


@pytest.mark.parametrize("mode,text", [(0o666, "can be written by everybody"), (0o602, "can be written by everybody")])
def test_configuration_that_anybody_may_write(tmp_path, mode, text):
    config = harness.write(tmp_path, "config.yaml", "targets:\n  - pid: 1\n")
    os.chmod(config, mode)
    status, _, err = harness.spanhound_once("serve", "-c", config)
    assert status == 2 and text in err and "chmod o-w" in err


def test_configuration_of_somebody_else(tmp_path):
    config = harness.write(tmp_path, "config.yaml", "targets:\n  - pid: 1\n")
    os.chown(config, 65534, -1)
    status, _, err = harness.spanhound_once("serve", "-c", config)
    assert status == 2 and "belongs to somebody else" in err


def test_configuration_in_a_folder_that_anybody_may_write(tmp_path):
    folder = tmp_path / "open"
    folder.mkdir()
    config = harness.write(folder, "config.yaml", "targets:\n  - pid: 1\n")
    os.chmod(folder, 0o777)
    status, _, err = harness.spanhound_once("serve", "-c", config)
    assert status == 2 and "another file can be put in its place" in err
    os.chmod(folder, 0o755)
    os.remove(config)
    os.mkfifo(config)
    status, _, err = harness.spanhound_once("serve", "-c", config)
    assert status == 2 and "is no file" in err


def test_configuration_on_a_file_system_that_nobody_may_write(spanhound, program, tmp_path):
    """As a kubelet mounts a ConfigMap: a link into a folder of mode 0777, read-only."""
    p = program("calls", "nested")
    folder = tmp_path / "volume"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0777", "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("no mount here")
    try:
        (folder / "..2026").mkdir()
        harness.write(folder / "..2026", "config.yaml", f"targets:\n  - pid: {p.pid}\nprobes:\n  - function: p_*\n")
        os.symlink("..2026", folder / "..data")
        os.symlink("..data/config.yaml", folder / "config.yaml")
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        s = spanhound("-c", folder / "config.yaml", command="serve")
        p.run()
        assert len(s.stop(signal.SIGTERM).spans) == len(p.calls)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def test_nothing_to_do(tmp_path):
    config = harness.write(tmp_path, "config.yaml", "policy: {listening: false}\n")
    status, _, err = harness.spanhound_once("serve", "-c", config)
    assert status == 2 and "names no targets" in err
    status, _, err = harness.spanhound_once("serve", "-c", os.path.join(tmp_path, "absent.yaml"))
    assert status == 2 and "absent.yaml" in err and "No such file" in err


def test_log_for_machines(spanhound, program, tmp_path):
    p = program("calls", "nested")
    config = harness.write(tmp_path, "config.yaml", f"targets:\n  - pid: {p.pid}\nprobes:\n  - function: p_*\n")
    s = spanhound("-c", config, "--log-format", "json", "--log-level", "debug", command="serve", wait_ready=False)
    s.wait_line('"message":"ready: 1 process')
    p.run()
    r = s.stop(signal.SIGTERM)
    lines = [json.loads(line) for line in r.stderr.splitlines()]
    assert {x["level"] for x in lines} >= {"info", "debug"}
    assert all(x["time"].endswith("Z") and x["message"] for x in lines)
    status, _, err = harness.spanhound_once("serve", "-c", config, "--log-format", "xml")
    assert status == 2 and "neither text nor json" in err
