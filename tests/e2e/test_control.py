# SPDX-License-Identifier: Apache-2.0
"""Asking a daemon and telling it what to do: `ctl`, and HTTP for those who watch it."""
import collections
import json
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

import harness
from harness import wait_for


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Daemon:
    def __init__(self, spanhound, tmp, pid, more="", probes="  - function: p_hot\n"):
        self.path = os.path.join(str(tmp), "control.sock")
        self.port = free_port()
        self.config = harness.write(tmp, "config.yaml", f"targets:\n  - pid: {pid}\nprobes:\n{probes}"
                                    f"control: {{socket: {self.path}}}\nhealth: {{listen: '127.0.0.1:{self.port}'}}\n{more}")
        self.s = spanhound("-c", self.config, command="serve")

    def ctl(self, *words, status=0, stdin=None):
        p = subprocess.run([harness.BINARY, "ctl", "--socket", self.path, *words], capture_output=True, text=True,
                           input=stdin, timeout=harness.PATIENCE_S)
        assert p.returncode == status, (words, p.stdout, p.stderr)
        return p.stdout if status == 0 else p.stderr

    def get(self, page):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{page}", timeout=harness.PATIENCE_S) as r:
            return r.status, r.headers["Content-Type"], r.read().decode()

    def metrics(self):
        status, kind, text = self.get("/metrics")
        assert status == 200 and kind.startswith("application/openmetrics-text")
        found = {}
        for f in text_string_to_metric_families(text):
            for x in f.samples:
                found[(x.name, *sorted(x.labels.values()))] = x.value
        return found


def assert_adds_up(m):
    dropped = sum(v for k, v in m.items() if k[0] == "spanhound_spans_dropped_total")
    assert m[("spanhound_spans_in_flight",)] >= 0
    assert m[("spanhound_spans_seen_total",)] == \
        m[("spanhound_spans_exported_total",)] + dropped + m[("spanhound_spans_in_flight",)]


def test_metrics(spanhound, hot, tmp_path):
    h = hot(1, 3000)
    d = Daemon(spanhound, tmp_path, h.pid)
    h.go()
    wait_for(lambda: d.metrics()[("spanhound_spans_exported_total",)] > 100, "spans")
    for _ in range(20):
        assert_adds_up(d.metrics())
    out = h.stop()
    wait_for(lambda: d.metrics()[("spanhound_spans_in_flight",)] == 0, "all spans to be delivered")
    m = d.metrics()
    assert_adds_up(m)
    assert m[("spanhound_spans_seen_total",)] == out["calls"]
    assert m[("spanhound_probed_functions",)] == 1 and m[("spanhound_probe_sites",)] >= 1
    assert m[("process_resident_memory_bytes",)] > 1 << 20 and m[("process_cpu_seconds_total",)] > 0
    assert m[("spanhound_ring_records_total",)] >= out["calls"] and m[("spanhound_config_good",)] == 1
    assert d.s.stop(signal.SIGTERM).summary["seen"] == out["calls"]


def test_health(spanhound, hot, tmp_path):
    h = hot()
    d = Daemon(spanhound, tmp_path, h.pid)
    assert d.get("/healthz")[0::2] == (200, "ok\n")
    assert d.get("/readyz")[0::2] == (200, "ready\n")
    status, kind, text = d.get("/status")
    said = json.loads(text)
    assert status == 200 and kind == "application/json"
    assert said["ready"] and said["healthy"] and said["config"] == {
        "file": d.config, "good": True, "reloads": 0, "refused": 0, "error": ""}
    for page, code in (("/nothing", 404),):
        with pytest.raises(urllib.error.HTTPError) as e:
            d.get(page)
        assert e.value.code == code
    harness.write(tmp_path, "config.yaml", "probes:\n  - functio: x\n")
    wait_for(lambda: "refused" in d.get("/healthz")[2], "the refused file to be visible")
    said = json.loads(d.get("/status")[2])
    assert not said["config"]["good"] and f"{d.config}:2:5: error: unknown key 'functio'" in said["config"]["error"]
    assert d.metrics()[("spanhound_config_good",)] == 0
    h.kill()
    d.s.stop(signal.SIGTERM)


def test_slow_and_strange_clients(spanhound, hot, tmp_path):
    """Nobody who connects holds up those who come after, or what the daemon is there for."""
    h = hot(1, 1000)
    d = Daemon(spanhound, tmp_path, h.pid)
    h.go()
    strange = []
    for port in range(12):
        c = socket.create_connection(("127.0.0.1", d.port))
        c.sendall((b"GET /met", b"\x00\xff" * 3000, b"POST /metrics HTTP/1.1\r\nContent-Length: 99999\r\n\r\n")[port % 3])
        strange.append(c)
    for _ in range(3):
        c = socket.socket(socket.AF_UNIX)
        c.connect(d.path)
        c.sendall(b"probe add\nprobes:")
        strange.append(c)
    assert json.loads(d.ctl("status"))["pid"] == d.s.pid
    assert_adds_up(d.metrics())
    for c in strange:
        c.close()
    out = h.stop()
    assert d.s.stop(signal.SIGTERM).summary["seen"] == out["calls"]


def test_probes_at_run_time(spanhound, hot, tmp_path):
    h = hot(1, 3000)
    d = Daemon(spanhound, tmp_path, h.pid)
    h.go()

    def seen(name):
        return sum(1 for x in harness.read_spans_so_far(d.s.spans_path) if x["name"] == name)

    extra = harness.write(tmp_path, "extra.yaml", "probes:\n  - function: p_hot_inner\n    span: {name: inner}\n")
    assert "probes +1 -0" in d.ctl("probe", "add", "-f", extra)
    wait_for(lambda: seen("inner"), "spans of the new probe")
    listed = json.loads(d.ctl("probe", "list"))
    assert [(x["functions"], x["at_run_time"], x["probed_functions"]) for x in listed] == \
        [(["p_hot"], False, 1), (["p_hot_inner"], True, 1)]
    assert "there already" in d.ctl("probe", "add", "-f", "-", stdin=open(extra, encoding="utf-8").read())
    # A reload leaves it alone.
    d.s.process.send_signal(signal.SIGHUP)
    d.s.wait_line("says what it said before")
    assert len(json.loads(d.ctl("probe", "list"))) == 2
    assert "the configuration asks for it" in d.ctl("probe", "remove", str(listed[0]["number"]), status=2)
    assert "no such probe" in d.ctl("probe", "remove", "77", status=2)
    assert "probes:1:1: error: unknown key 'prbes'" in d.ctl("probe", "add", "-f", "-", status=2, stdin="prbes: []\n")
    assert "and nothing else" in d.ctl("probe", "add", "-f", "-", status=2,
                                       stdin="targets:\n  - pid: 1\nprobes:\n  - function: p_hot\n")
    assert "probes +0 -1" in d.ctl("probe", "remove", str(listed[1]["number"]))
    assert [x["functions"] for x in json.loads(d.ctl("probe", "list"))] == [["p_hot"]]
    d.ctl("flush")
    d.ctl("reload")
    out = h.stop()
    r = d.s.stop(signal.SIGTERM)
    names = collections.Counter(x["name"] for x in r.spans)
    assert names["p_hot"] == out["calls"] and 0 < names["inner"] < out["calls"]


def test_other_users_are_turned_away(spanhound, hot, tmp_path):
    h = hot()
    d = Daemon(spanhound, tmp_path, h.pid)
    assert os.stat(d.path).st_mode & 0o777 == 0o600
    os.chmod(d.path, 0o666)  # even where the file lets them
    script = ("import os, socket, sys; s = socket.socket(socket.AF_UNIX)\n"
              "fd = os.open(sys.argv[1], os.O_PATH | os.O_DIRECTORY)\nos.setuid(65534)\n"
              "s.connect(f'/proc/self/fd/{fd}/control.sock')\n"
              "try:\n    s.sendall(b'status\\n'); s.shutdown(1); sys.stdout.write(repr(s.recv(100)))\n"
              "except OSError:\n    sys.stdout.write(\"b''\")\n")
    os.chmod(tmp_path, 0o755)
    p = subprocess.run(["python3", "-c", script, str(tmp_path)], capture_output=True, text=True)
    assert p.stdout == "b''", (p.stdout, p.stderr)
    d.s.wait_line("user 65534")
    assert json.loads(d.ctl("status"))["ready"]
    h.kill()
    d.s.stop(signal.SIGTERM)
    assert not os.path.exists(d.path)


def test_ctl_without_a_daemon(tmp_path):
    status, _, err = harness.spanhound_once("ctl", "--socket", os.path.join(tmp_path, "none"), "status")
    assert status == 1 and "does `spanhound serve` run?" in err
    status, _, err = harness.spanhound_once("ctl")
    assert status == 2 and "probe add" in err


def test_addresses_of_others_are_refused(tmp_path):
    config = harness.write(tmp_path, "config.yaml", "health: {listen: '0.0.0.0:9000'}\n")
    status, _, err = harness.spanhound_once("serve", "-c", config)
    assert status == 2 and f"{config}:1:18: error: listen: expected unix:///PATH or 127.0.0.1:PORT" in err


def test_health_on_a_unix_socket(spanhound, hot, tmp_path):
    h = hot()
    path = os.path.join(tmp_path, "health.sock")
    config = harness.write(tmp_path, "config.yaml", f"targets:\n  - pid: {h.pid}\nhealth: {{listen: 'unix://{path}'}}\n"
                           f"control: {{socket: {tmp_path}/control.sock}}\n")
    s = spanhound("-c", config, command="serve")
    with socket.socket(socket.AF_UNIX) as c:
        c.connect(path)
        c.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        said = b""
        while part := c.recv(4096):
            said += part
    assert said.startswith(b"HTTP/1.1 200 OK\r\n") and said.endswith(b"\r\n\r\nready\n")
    h.kill()
    s.stop(signal.SIGTERM)
