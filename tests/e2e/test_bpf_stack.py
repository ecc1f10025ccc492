# SPDX-License-Identifier: Apache-2.0
"""What kernels other than this one would refuse of the BPF programs, as far as their code tells."""
import glob
import os
import sys

import pytest

import harness

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "tools"))
import bpf_stack  # noqa: E402


def test_stack():
    """Since 6.13 each function may have as much stack as it likes; before, all that call each other have 512 bytes."""
    objects = glob.glob(os.path.join(harness.OUTPUT, "bpf", "*.bpf.o"))
    if not objects:
        pytest.skip("no BPF objects beside the binary")
    found = bpf_stack.all_programs(objects)
    assert len(found) > 20, found
    for size, chain in found:
        assert size <= bpf_stack.MAX_BYTES and len(chain) <= bpf_stack.MAX_FRAMES, f"{size} bytes: {' > '.join(chain)}"
