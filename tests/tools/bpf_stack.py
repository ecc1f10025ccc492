# SPDX-License-Identifier: Apache-2.0
"""The deepest stack of each BPF program of an object, as kernels before 6.13 count it: over all calls, what they would
never come to included, each frame rounded up to 32 bytes; 512 bytes and eight frames are all there is.

    tests/tools/bpf_stack.py OBJECT...

Prints bytes, frames and the chain of calls, the deepest first. Exit status 1 when one is too deep."""
import re
import subprocess
import sys

MAX_BYTES, MAX_FRAMES = 512, 8  # MAX_BPF_STACK of linux/filter.h, MAX_CALL_FRAMES of linux/bpf_verifier.h


def read(path):
    """({function: bytes}, {function: who it calls}, programs)"""
    text = subprocess.run(["llvm-objdump", "-dr", path], capture_output=True, text=True, check=True).stdout
    depth, calls, programs, starts, pending = {}, {}, [], {}, []
    name = section = call = None
    for line in text.splitlines():
        if m := re.match(r"Disassembly of section (\S+):", line):
            section = m[1]
        elif m := re.match(r"([0-9a-f]+) <(?!LBB)(.+)>:", line):
            name = m[2]
            depth[name], calls[name], call = 0, set(), None
            starts[section, int(m[1], 16) // 8] = name
            if section != ".text":
                programs.append(name)
        elif m := re.match(r"\s+[0-9a-f]+:\s+R_BPF_64_\w+\s+(\S+)", line):
            if call and m[1] == ".text":
                pending.append((call[0], ".text", call[1] + 1))
            elif call:
                calls[call[0]].add(m[1])
            elif m[1] == ".text":  # a function that a helper is to call
                pending.append((name, ".text", loaded // 8))
            call = None
        elif m := re.match(r"\s+(\d+):\t((?:[0-9a-f]{2}[ \t]){8})", line):
            if call:
                pending.append((call[0], section, call[2] + call[1] + 1))
            code = bytes.fromhex(m[2])
            number = int.from_bytes(code[4:8], "little", signed=True)
            loaded = number if code[0] == 0x18 else 0
            call = (name, number, int(m[1])) if code[0] == 0x85 and code[1] == 0x10 else None
            for m in re.finditer(r"r10 - (0x[0-9a-f]+|\d+)|r\d+ \+= -(0x[0-9a-f]+|\d+)", line):
                depth[name] = max(depth[name], int(m[1] or m[2], 0))
    for caller, where, at in pending:
        calls[caller].add(starts[where, at])
    return depth, calls, programs


def deepest(name, depth, calls):
    """(bytes, chain) of what `name` calls at worst, itself included."""
    own = (max(depth[name], 1) + 31) // 32 * 32
    below = [deepest(c, depth, calls) for c in calls[name] if c in depth]
    most = max(below, default=(0, []), key=lambda x: x[0])
    return own + most[0], [f"{name} {own}", *most[1]]


def all_programs(paths):
    found = []
    for path in paths:
        depth, calls, programs = read(path)
        found += [deepest(p, depth, calls) for p in programs]
    return sorted(found, key=lambda x: -x[0])


def main():
    bad = False
    for size, chain in all_programs(sys.argv[1:]):
        bad |= size > MAX_BYTES or len(chain) > MAX_FRAMES
        print(f"{size:5} {len(chain):2}  {' > '.join(chain)}")
    return bad


if __name__ == "__main__":
    sys.exit(main())
