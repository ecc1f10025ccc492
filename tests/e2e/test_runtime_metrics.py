# SPDX-License-Identifier: Apache-2.0
"""Runtime metrics of real processes: what is sent when a session ends is the last report, so nobody waits for the timer."""
import re
import shutil
import subprocess
import sys

import pytest

from harness import target_environment, wait_for, write
from test_metrics import Receiver

PYTHON = "import sys, time\nprint('up', flush=True)\nend = time.process_time() + 0.2\nsys.stdin.readline()\n" \
         "while time.process_time() < end: pass\nprint('worked', flush=True)\nsys.stdin.readline()"
JAVA = """public class Work { public static void main(String[] a) throws Exception {
System.out.println("up"); System.in.read();
byte[][] kept = new byte[64][]; for (int i = 0; i < 5000; i++) kept[i % 64] = new byte[100000];
System.gc(); System.out.println("worked"); System.in.read(); System.in.read(); } }"""
NODE = "console.log('up'); process.stdin.once('data', () => console.log('worked')); process.stdin.resume()"


@pytest.fixture
def working(background, spanhound):
    """working([program, ...]) -> lines of DogStatsD after a session in which it worked."""
    def run(command, theirs=None, ours=None, options=()):
        receiver = Receiver()
        p = background(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
                       env=target_environment({"DD_SERVICE": "shop", "DD_ENV": "prod", **(theirs or {})}))
        assert p.stdout.readline() == "up\n"
        s = spanhound("--pid", p.pid, *options, env={"DD_DOGSTATSD_URL": receiver.url, **(ours or {})})
        p.stdin.write("\n")
        assert p.stdout.readline() == "worked\n"
        s.stop()
        p.kill()
        receiver.socket.setblocking(False)
        try:
            return receiver.lines()
        except BlockingIOError:
            return []
        finally:
            receiver.socket.close()
    return run


def metrics(lines):
    """name -> (value, type); every line has the tags of the process."""
    told = {}
    for line in lines:
        m = re.fullmatch(r"([\w.]+):([-+\d.e]+)\|([gd])\|#service:shop,env:prod,lang:(\w+),runtime-id:[0-9a-f-]{36}(\|c:[\w-]+)?", line)
        if line.startswith("datadog.dogstatsd.client."):
            continue
        assert m, line
        assert m[1] not in told, line
        told[m[1]] = (float(m[2]), m[3])
    return told


def test_python(working):
    told = metrics(working([sys.executable, "-c", PYTHON], {"DD_RUNTIME_METRICS_ENABLED": "true"}))
    cpu = told["runtime.python.cpu.time.user"][0] + told["runtime.python.cpu.time.sys"][0]
    assert 0.1 < cpu < 60 and told["runtime.python.cpu.percent"][0] > 0
    assert told["runtime.python.thread_count"] == (1, "d")
    assert 1 << 20 < told["runtime.python.mem.rss"][0] < 1 << 30
    assert told["runtime.python.cpu.ctx_switch.voluntary"][0] >= 0 <= told["runtime.python.cpu.ctx_switch.involuntary"][0]
    assert told["runtime.process.open_fds"][0] >= 3


def test_ours_goes_before_theirs(working):
    assert not working([sys.executable, "-c", PYTHON], {"DD_RUNTIME_METRICS_ENABLED": "true"},
                       {"DD_RUNTIME_METRICS_ENABLED": "false"})


def test_file_goes_before_theirs(working, tmp_path):
    file = write(tmp_path, "f.yaml", "settings: {DD_RUNTIME_METRICS_ENABLED: true}\n")
    assert working([sys.executable, "-c", PYTHON], {"DD_RUNTIME_METRICS_ENABLED": "false"}, options=("-c", file))


def test_wrong_value(background, spanhound):
    p = background(sys.executable, "-c", PYTHON, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                   env=target_environment({"DD_RUNTIME_METRICS_ENABLED": "perhaps"}))
    assert p.stdout.readline() == "up\n"
    r = spanhound("--pid", p.pid).stop()
    assert re.search(rf"in the environment of process {p.pid} \(python[\w.]*\): DD_RUNTIME_METRICS_ENABLED: 'perhaps' is not "
                     r"true or false \(1 or 0\): ignored", r.stderr), r.stderr


def test_native(working, tmp_path):
    source = write(tmp_path, "w.c", '#include <stdio.h>\nint main(void) { puts("up"); fflush(stdout); getchar(); '
                                    'puts("worked"); fflush(stdout); getchar(); return 0; }\n')
    binary = str(tmp_path / "w")
    subprocess.run(["cc", "-o", binary, source], check=True)
    told = metrics(working([binary], {"DD_RUNTIME_METRICS_ENABLED": "1"}))
    assert set(told) == {"runtime.process." + n for n in (
        "cpu.time.user", "cpu.time.sys", "cpu.percent", "cpu.ctx_switch.voluntary", "cpu.ctx_switch.involuntary",
        "thread_count", "mem.rss", "open_fds")}
    assert told["runtime.process.open_fds"] == (3, "g") and told["runtime.process.thread_count"] == (1, "g")


@pytest.mark.skipif(not shutil.which("node"), reason="no node here")
def test_node(working):
    told = metrics(working(["node", "-e", NODE], {"DD_RUNTIME_METRICS_ENABLED": "true"}))
    assert {"runtime.node.cpu.user", "runtime.node.cpu.system", "runtime.node.cpu.total", "runtime.node.mem.rss",
            "runtime.node.mem.total", "runtime.node.mem.free", "runtime.node.process.uptime"} <= set(told)
    assert told["runtime.node.mem.rss"][0] < told["runtime.node.mem.total"][0]


@pytest.mark.soak
@pytest.mark.skipif(not shutil.which("java") or not shutil.which("javac"), reason="no Java here")
def test_jvm(working, tmp_path):
    subprocess.run(["javac", "-d", str(tmp_path), write(tmp_path, "Work.java", JAVA)], check=True)
    command = ["java", "-Xmx64m", "-XX:+UseSerialGC", "-cp", str(tmp_path), "Work"]
    told = metrics(working(command, {"DD_RUNTIME_METRICS_ENABLED": "true"}))
    assert told["jvm.gc.minor_collection_count"][0] > 0 and told["jvm.gc.major_collection_count"][0] > 0
    assert told["jvm.gc.major_collection_time"][0] > 0
    assert 0 < told["jvm.heap_memory"][0] <= told["jvm.heap_memory_committed"][0] <= 64 << 20
    assert told["jvm.thread_count"][0] >= 1 and told["jvm.loaded_classes"][0] > 100
    assert told["jvm.os.open_file_descriptors"][0] > 3 and 0 <= told["jvm.cpu_load.process"][0] <= 1.5
