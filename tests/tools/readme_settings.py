#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the table of settings in README.md as `spanhound info --settings-table` prints it: after a change of
userspace/trace/settings.def and a build."""
import os
import subprocess

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
BINARY = os.path.join(os.environ.get("SPANHOUND_OUTPUT", os.path.join(ROOT, ".output")), "spanhound")


def main():
    readme = os.path.join(ROOT, "README.md")
    with open(readme, encoding="utf-8") as f:
        text = f.read()
    start = text.index("| variable | flag |")
    end = text.index("\n</details>", start)
    table = subprocess.run([BINARY, "info", "--settings-table"], capture_output=True, text=True, check=True).stdout
    with open(readme, "w", encoding="utf-8") as f:
        f.write(text[:start] + table + text[end:])


if __name__ == "__main__":
    main()
