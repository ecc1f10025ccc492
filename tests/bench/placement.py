# SPDX-License-Identifier: Apache-2.0
"""Where probes land: the share of functions whose entry costs no single step."""
import json
import os
import shutil
import subprocess
import time

from harness import Figure, PATIENCE_S

FAST = ("optimised", "nop", "nop5", "emulated")


def start_nginx(bench):
    config = bench.file("nginx.conf", f"daemon off; master_process off; error_log {bench.tmp}/nginx.log; "
                                      f"pid {bench.tmp}/nginx.pid; events {{}}\n")
    return subprocess.Popen([shutil.which("nginx") or "/usr/sbin/nginx", "-c", config, "-e", f"{bench.tmp}/nginx.log"],
                            stderr=subprocess.DEVNULL)


def start_redis(bench):
    return subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", f"{bench.tmp}/redis.sock", "--save", ""],
                            stdout=subprocess.DEVNULL, cwd=bench.tmp)


def functions(bench, pid, pattern):
    out = subprocess.run([bench.spanhound, "functions", "--pid", str(pid), pattern, "--json"], capture_output=True,
                         text=True, timeout=PATIENCE_S)
    if not out.stdout:
        raise RuntimeError(out.stderr)
    return [f for f in json.loads(out.stdout)["functions"] if f["probeable"]]


def share(bench, start, pattern, name, must):
    try:
        process = start(bench)
    except FileNotFoundError:
        return Figure(f"functions of {name} at a fast site", "not installed")
    try:
        time.sleep(1)
        if process.poll() is not None:
            return Figure(f"functions of {name} at a fast site", "did not start")
        found = functions(bench, process.pid, pattern)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
    fast = sum(f["cost"] != "single-step" for f in found)
    value = fast / len(found) if found else 0
    costs = {c: sum(f["cost"] == c for f in found) for c in sorted({f["cost"] for f in found})}
    ends = {e: sum(f["end"] == e for f in found) for e in sorted({f["end"] for f in found})}
    return Figure(f"functions of {name} at a fast site", f"{100 * value:.1f} % of {len(found)}",
                  f">= {100 * must:.0f} %" if must else "", value >= must if must else None,
                  [", ".join(f"{n} {c}" for c, n in costs.items()) + "; ends: " +
                   ", ".join(f"{n} {e}" for e, n in ends.items())])


def fast_sites(bench, quick=False):
    del quick
    return [share(bench, start_nginx, "*", "nginx", 0.80), share(bench, start_redis, "*", "redis-server", None),
            share(bench, start_redis if not os.path.exists("/usr/sbin/nginx") else start_nginx, "libcrypto.so*:*",
                  "libcrypto", None)]
