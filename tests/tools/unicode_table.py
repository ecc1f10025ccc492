#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes userspace/base/unicode_table.h: what Go's unicode.IsLetter, IsDigit and ToLower answer beyond ASCII.

Needs `pip install unicodedata2==15.0.0`, the Unicode version of Go 1.21 and later."""
import unicodedata2 as u


def ranges(wanted):
    out = []
    for c in range(0x80, 0x110000):
        if u.category(chr(c)) in wanted:
            if out and out[-1][1] == c - 1:
                out[-1][1] = c
            else:
                out.append([c, c])
    return out


def lower_runs():
    """[first, last, stride, delta] of upper-case letters whose lower case has as many UTF-8 bytes."""
    runs = []
    for c in range(0x80, 0x110000):
        low = chr(c).lower()
        if u.category(chr(c)) != "Lu" or len(low) != 1 or ord(low) == c:
            continue
        if len(low.encode()) != len(chr(c).encode()):
            continue
        delta = ord(low) - c
        if runs:
            run = runs[-1]
            stride = c - run[1]
            if run[3] == delta and stride <= 2 and (run[2] == 0 or run[2] == stride):
                run[1], run[2] = c, stride
                continue
        runs.append([c, c, 0, delta])
    return [[a, b, max(s, 1), d] for a, b, s, d in runs]


def table(name, kind, rows):
    print(f"static const struct {kind} {name}[] = {{")
    line = ""
    for row in rows:
        item = "{" + ", ".join(hex(x) if i < 2 else str(x) for i, x in enumerate(row)) + "},"
        if len(line) + len(item) > 108:
            print("\t" + line.rstrip())
            line = ""
        line += item + " "
    print("\t" + line.rstrip())
    print("};\n")


print("""/* SPDX-License-Identifier: Apache-2.0 */
/* Written by tests/tools/unicode_table.py from the Unicode Character Database 15.0.0. */
#ifndef BASE_UNICODE_TABLE_H
#define BASE_UNICODE_TABLE_H

#include <stdint.h>

/* clang-format off */
struct unicode_range {
	uint32_t first, last;
};

struct unicode_lower {
	uint32_t first, last;
	uint8_t stride;
	int32_t delta;
};
""")
table("unicode_letters", "unicode_range", ranges({"Lu", "Ll", "Lt", "Lm", "Lo"}))
table("unicode_digits", "unicode_range", ranges({"Nd"}))
table("unicode_lowers", "unicode_lower", lower_runs())
print("/* clang-format on */\n\n#endif")
