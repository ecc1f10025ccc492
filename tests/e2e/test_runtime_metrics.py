# SPDX-License-Identifier: Apache-2.0
"""Runtime metrics of real processes: what is sent when a session ends is the last report, so nobody waits for the timer."""
import glob
import os
import re
import shutil
import socket
import subprocess
import sys

import pytest

import web
from harness import target_environment, wait_for, write
from test_metrics import Receiver

PYTHON = "import sys, time\nprint('up', flush=True)\nend = time.process_time() + 0.2\nsys.stdin.readline()\n" \
         "while time.process_time() < end: pass\nprint('worked', flush=True)\nsys.stdin.readline()"
JAVA = """public class Work { public static void main(String[] a) throws Exception {
System.out.println("up"); System.in.read();
byte[][] kept = new byte[64][]; for (int i = 0; i < 5000; i++) kept[i % 64] = new byte[100000];
System.gc(); System.out.println("worked"); System.in.read(); System.in.read(); } }"""
NODE = "console.log('up'); process.stdin.once('data', () => console.log('worked')); process.stdin.resume()"


COLLECTOR = """import gc, os
gc.disable()
say = lambda *numbers: os.write(1, (" ".join(map(str, numbers)) + "\\n").encode())
say(*[s["collections"] for s in gc.get_stats()])
os.read(0, 1)
for generation in (0, 0, 0, 1, 1, 2, 0, 1, 0, 0): gc.collect(generation)
kept = [[] for _ in range(300)]
say(*[s["collections"] for s in gc.get_stats()])
say(*gc.get_count())
os.read(0, 1)
"""
GO = """package main

import ("os"; "runtime"; "runtime/debug"; "strconv"; "time")

func main() {
	debug.SetGCPercent(-1)
	os.Stdout.WriteString("up\\n")
	os.Stdin.Read(make([]byte, 1))
	for i := 0; i < len(os.Args) * 100; i++ {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	stats := debug.GCStats{PauseQuantiles: make([]time.Duration, 5)}
	debug.ReadGCStats(&stats)
	line := strconv.FormatFloat(m.GCCPUFraction, 'g', -1, 64)
	for _, n := range []uint64{uint64(m.NumGC), uint64(m.NumForcedGC), m.PauseTotalNs, m.LastGC} {
		line += " " + strconv.FormatUint(n, 10)
	}
	for _, q := range stats.PauseQuantiles {
		line += " " + strconv.FormatInt(int64(q), 10)
	}
	os.Stdout.WriteString(line + "\\n")
	os.Stdin.Read(make([]byte, 1))
}
"""


def pythons():
    """Version -> interpreter, of all that are here."""
    found = {}
    for path in [sys.executable, "/usr/bin/python3", *glob.glob(os.path.expanduser("~/.pyenv/versions/3.*/bin/python3"))]:
        if os.path.exists(path):
            version = subprocess.run([path, "-c", "import sys; print(*sys.version_info[:2], sep='.')"],
                                     stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
            found.setdefault(version, path)
    return found


@pytest.fixture
def working(background, spanhound):
    """working([program, ...]) -> lines of DogStatsD after a session in which it worked."""
    def run(command, theirs=None, ours=None, options=(), said=None):
        receiver = Receiver()
        p = background(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
                       env=target_environment({"DD_SERVICE": "shop", "DD_ENV": "prod", **(theirs or {})}))
        assert p.stdout.readline() == "up\n"
        s = spanhound("--pid", p.pid, *options, env={"DD_DOGSTATSD_URL": receiver.url, **(ours or {})})
        p.stdin.write("\n")
        worked = p.stdout.readline()
        if said is None:
            assert worked == "worked\n"
        else:
            said.append(worked)
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


def test_collector_of_python(background, spanhound):
    """What gc.get_count() and gc.get_stats() say in each CPython there is, and nothing where its memory is not known."""
    receiver, running = Receiver(), {}
    receiver.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    for version, path in pythons().items():
        env = target_environment({"DD_SERVICE": "py" + version, "DD_RUNTIME_METRICS_ENABLED": "true"})
        p = running[version] = background(path, "-c", COLLECTOR, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        p.before = [int(x) for x in p.stdout.readline().split()]
    s = spanhound(*(x for p in running.values() for x in ("--pid", p.pid)), env={"DD_DOGSTATSD_URL": receiver.url})
    for p in running.values():
        p.stdin.write("x")
        p.stdin.flush()
        p.after, p.count = [int(x) for x in p.stdout.readline().split()], [int(x) for x in p.stdout.readline().split()]
    s.stop()
    lines = receiver.lines()
    receiver.socket.close()
    for version, p in running.items():
        told = {m[1]: float(m[2]) for line in lines if f"service:py{version}," in line
                for m in [re.match(r"runtime\.python\.([\w.]+):([-+\d.e]+)\|d\|", line)] if m}
        assert "thread_count" in told, version
        if not 8 <= int(version[2:]) <= 13:
            assert not any(name.startswith("gc.") for name in told), version
            continue
        for i in range(3):
            assert told[f"gc.collections.gen{i}"] == p.after[i] - p.before[i], version
        assert [told["gc.count.gen1"], told["gc.count.gen2"]] == p.count[1:] and min(p.count) > 0, version
        assert 300 <= p.count[0] <= told["gc.count.gen0"] < p.count[0] + 50, version


def test_collector_of_go(working, tmp_path):
    """What runtime.ReadMemStats() and debug.ReadGCStats() say: before the first ring of pauses is full, and after."""
    path = web.go_program(str(tmp_path), GO, "gc")
    for more in ([], ["x", "x"]):
        said = []
        told = metrics(working([path, *more], {"DD_RUNTIME_METRICS_ENABLED": "true"}, said=said))
        names = [*("mem_stats." + n for n in ("gc_cpu_fraction", "num_gc", "num_forced_gc", "pause_total_ns", "last_gc")),
                 *("gc_stats.pause_quantiles." + n for n in ("min", "25p", "50p", "75p", "max"))]
        assert [told["runtime.go." + n] for n in names] == [(float(x), "g") for x in said[0].split()]
        assert told["runtime.go.mem_stats.num_gc"][0] == 100 * (1 + len(more))


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
