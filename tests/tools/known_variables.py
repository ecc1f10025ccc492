#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes userspace/trace/known_variables.def: the variables that ddtrace knows and spanhound does not.

Needs `pip install ddtrace` of the version in tests/requirements.txt, which has the registry as a module."""
import importlib.metadata
import os
import re

from ddtrace.internal.settings import _supported_configurations as registry

USERSPACE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "userspace")


def ours():
    with open(os.path.join(USERSPACE, "trace", "settings.def"), encoding="utf-8") as f:
        text = f.read()
    return set(re.findall(r'^SETTING\(\w+, \w+, "(\w+)"', text, re.M)) | set(re.findall(r'^OLDER\(\w+, "(\w+)"', text, re.M))


def main():
    names = set(registry.SUPPORTED_CONFIGURATIONS) | set(registry.CONFIGURATION_ALIASES)
    for older in registry.CONFIGURATION_ALIASES.values():
        names |= set(older)
    names = sorted(n for n in names - ours() if re.fullmatch(r"(DD|DATADOG|OTEL)_\w+", n))
    with open(os.path.join(USERSPACE, "trace", "known_variables.def"), "w", encoding="utf-8") as f:
        f.write("/* SPDX-License-Identifier: Apache-2.0 */\n"
                "/* KNOWN(name): variables that ddtrace obeys and spanhound does not, sorted. Written by\n"
                f" * tests/tools/known_variables.py from the registry of ddtrace {importlib.metadata.version('ddtrace')}\n"
                " * (ddtrace/internal/settings/_supported_configurations.py). */\n")
        f.writelines(f'KNOWN("{n}")\n' for n in names)


if __name__ == "__main__":
    main()
