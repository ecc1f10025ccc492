# SPDX-License-Identifier: Apache-2.0
"""The user half without a kernel: records to spans, and to msgpack bytes, on one core."""
import subprocess

from harness import Figure, PATIENCE_S, TRACER_CPU, on_cpu


def rate(bench, what, spans, seconds):
    best = 0, 0
    for _ in range(3):
        out = subprocess.run([bench.program("spans"), what, str(spans), str(seconds)], capture_output=True, text=True,
                             timeout=PATIENCE_S, check=True, preexec_fn=on_cpu(TRACER_CPU)).stdout
        made, size, ns = map(int, out.split())
        best = max(best, (made * 1e9 / ns, size / made))
    return best


def records_to_bytes(bench, quick=False):
    figures = []
    for what, name in (("plain", "no values"), ("values", "two integers and a string each")):
        for spans in (10, 1):
            value, size = rate(bench, what, spans, 0.3 if quick else 1)
            figures.append(Figure(f"record to span to msgpack, {name}, {spans} span{'s' if spans > 1 else ''} a trace",
                                  f"{value / 1e6:.2f} million/s/core", ">= 1 million", value >= 1e6,
                                  [f"{size:.0f} bytes a span; CPU time of one thread, best of 3"]))
    return figures


def encode(bench, quick=False):
    """Spans with twelve tags each to the bytes of a payload, in both formats of the Agent's."""
    figures = []
    for what, name in (("v04", "v0.4"), ("v05", "v0.5")):
        best, asked = 0, 0
        for _ in range(3):
            out = subprocess.run([bench.program("encode"), what, str(0.3 if quick else 1)], capture_output=True, text=True,
                                 timeout=PATIENCE_S, check=True, preexec_fn=on_cpu(TRACER_CPU)).stdout
            made, size, ns, allocations = map(int, out.split())
            best, asked = max((best, asked), (made * 1e9 / ns, allocations / made))
        figures.append(Figure(f"span to msgpack, {name}", f"{best / 1e6:.2f} million/s/core", ">= 3 million", best >= 3e6,
                              [f"{size / made:.0f} bytes a span; memory asked for {asked:.4f} times a span"]))
    return figures


def sampling(bench, quick=False):
    """What is added to a span between its being made and its being encoded."""
    figures = []
    for what, spans, name, want in (("request", 10, "a request of ten spans, three counted", 150),
                                    ("clients", 10, "ten calls of a peer, all counted", 300)):
        stats = decided = cleaned = float("inf")
        for _ in range(3):
            out = subprocess.run([bench.program("sampling"), what, str(spans), str(0.2 if quick else 0.6)], capture_output=True,
                                 text=True, timeout=PATIENCE_S, check=True, preexec_fn=on_cpu(TRACER_CPU)).stdout
            stats, decided, cleaned = (min(a, float(b)) for a, b in zip((stats, decided, cleaned), out.split()))
        figures.append(Figure(f"statistics, {name}", f"{stats:.0f} ns a span", f"<= {want} ns", stats <= want,
                              [f"sampling with three rules: {decided:.0f} ns a span, obfuscation and normalisation that change "
                               f"nothing: {cleaned:.0f}; CPU time of one thread, best of 3"]))
    return figures


def exchanges(bench, quick=False):
    """Records of requests and responses to spans."""
    def run(*args):
        return [int(x) for x in subprocess.run([bench.program("exchanges"), *args], capture_output=True, text=True, check=True,
                                               timeout=PATIENCE_S, preexec_fn=on_cpu(TRACER_CPU)).stdout.split()]
    figures = []
    for what, spans, name in (("server", 1, "read and answered"), ("joined", 2, "and asked by a traced process, per span")):
        runs = [run(what, "32", "0.3" if quick else "1") for _ in range(3)]
        ns = min(took / done / spans for done, took, _ in runs)
        figures.append(Figure(f"request to span, {name}", f"{ns:.0f} ns", "<= 1200 ns", ns <= 1200,
                              [f"bytes more in use at the end than after the first: {max(x[2] for x in runs)}; CPU time of one "
                               "thread, best of 3"]))
    kib, = run("idle", "10000")
    figures.append(Figure("10,000 idle connections, user half", f"{kib / 1024:.1f} MB", "<= 8 MB", kib <= 8192))
    return figures


def obfuscate(bench, quick=False):
    """SQL through the obfuscator."""
    best = 0
    for _ in range(3):
        size, ns = map(int, subprocess.run([bench.program("obfuscate"), str(0.3 if quick else 1)], capture_output=True,
                                           text=True, timeout=PATIENCE_S, check=True,
                                           preexec_fn=on_cpu(TRACER_CPU)).stdout.split())
        best = max(best, size * 1e9 / ns)
    return [Figure("SQL obfuscated", f"{best / 1e6:.0f} MB/s/core", ">= 200 MB/s", best >= 200e6,
                   ["four queries of 150 to 220 bytes; CPU time of one thread, best of 3"])]
