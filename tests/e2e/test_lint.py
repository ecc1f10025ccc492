# SPDX-License-Identifier: Apache-2.0
"""Each rule of tests/lint/run must be able to fail: a small tree with one mistake each."""
import os
import subprocess

import pytest

LINT = os.path.join(os.path.dirname(__file__), "..", "lint", "run")
APACHE = "/* SPDX-License-Identifier: Apache-2.0 */\n"
DUAL = "/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */\n"
GOOD = {
    "Makefile": "# SPDX-License-Identifier: Apache-2.0\nall:\n",
    "README.md": "# x\n",
    "include/spanhound/events.h": DUAL + "#include <linux/types.h>\n",
    "userspace/base/sv.h": APACHE,
    "userspace/trace/span.h": APACHE + '#include "base/sv.h"\n',
    "userspace/flow/call.c": APACHE + '#include "trace/span.h"\n#include "spanhound/events.h"\n',
    "userspace/kernel/links.c": APACHE + "#include <bpf/libbpf.h>\n",
    "userspace/export/datadog.c": APACHE + "#include <curl/curl.h>\n#include \"trace/span.h\"\n",
    "userspace/app/main.c": APACHE + '#include "flow/flow.h"\n#include "version.h"\nint main(void) { puts("x"); return 0; }\n',
    "userspace/flow/flow.h": APACHE,
    "bpf/function.bpf.c": DUAL + '#include "spanhound/events.h"\n#include "maps.bpf.h"\n#include <bpf/bpf_helpers.h>\n',
    "bpf/maps.bpf.h": DUAL,
    "tests/e2e/test_x.py": "# SPDX-License-Identifier: Apache-2.0\n",
}
# rule: (file, content)
MISTAKES = {
    "include_direction": [
        ("userspace/base/up.h", APACHE + '#include "trace/span.h"\n'),
        ("userspace/trace/sideways.c", APACHE + '#include "binary/elf.h"\n'),
        ("userspace/flow/sideways.c", APACHE + '#include "export/datadog.h"\n'),
        ("userspace/trace/near.c", APACHE + '#include "span.h"\n'),
        ("userspace/novel/x.c", APACHE),
    ],
    "include_names_a_file": [("userspace/app/x.c", APACHE + '#include "base/nothing.h"\n')],
    "libbpf_in_its_place": [("userspace/target/x.c", APACHE + "#include <bpf/libbpf.h>\n"),
                            ("userspace/app/x.c", APACHE + "#include <bpf/bpf.h>\n")],
    "libcurl_in_its_place": [("userspace/app/x.c", APACHE + "#include <curl/curl.h>\n")],
    "bpf_on_its_own": [("bpf/x.bpf.c", DUAL + '#include "base/sv.h"\n'), ("bpf/y.bpf.c", DUAL + "#include <string.h>\n")],
    "licence_lines": [("userspace/base/x.c", "int x;\n"), ("userspace/base/y.c", DUAL), ("bpf/x.bpf.h", APACHE),
                      ("tests/e2e/x.py", "print()\n")],
    "top_level": [("notes.txt", "x\n"), ("src/x.c", APACHE)],
    "nothing_generated": [("userspace/base/x.o", "x"), ("tests/e2e/__pycache__/x.pyc", "x"), ("compile_commands.json", "[]\n")],
    "no_forbidden_words": [("userspace/app/x.c", APACHE + "int f(void) { return ptrace(0); }\n"),
                           ("bpf/x.bpf.c", DUAL + "int f(void) { return bpf_probe_write_user(); }\n"),
                           ("userspace/base/x.c", APACHE + "/* TODO */\n")],
    "pure_libraries": [("userspace/trace/span.h", APACHE + "#include <bpf/bpf.h>\n")],
    "no_printing_below_app": [("userspace/trace/x.c", APACHE + 'void f(void) { printf("x"); }\n'),
                              ("userspace/kernel/x.c", APACHE + "void f(void) { exit(1); }\n")],
    "settings_have_a_line": [("userspace/app/x.c", APACHE + 'const char *f(void) { return getenv("DD_X"); }\n')],
    "whitespace": [("userspace/base/x.c", APACHE + "int x; \n"), ("userspace/base/y.c", APACHE + "int x;")],
}


def lint(root):
    p = subprocess.run([LINT, "--tap", str(root)], capture_output=True, text=True)
    return p.returncode, p.stdout


def make(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_good_tree(tmp_path):
    make(tmp_path, GOOD)
    status, out = lint(tmp_path)
    assert status == 0 and "not ok" not in out, out


def test_every_rule_has_a_mistake(tmp_path):
    make(tmp_path, GOOD)
    _, out = lint(tmp_path)
    assert {line.split(" - ")[1] for line in out.splitlines() if line.startswith("ok")} == set(MISTAKES)


@pytest.mark.parametrize("rule,file,text", [(r, f, t) for r, m in MISTAKES.items() for f, t in m],
                         ids=[f"{r}-{f.replace('/', '_')}" for r, m in MISTAKES.items() for f, _ in m])
def test_mistake(tmp_path, rule, file, text):
    make(tmp_path, {**GOOD, file: text})
    status, out = lint(tmp_path)
    assert status == 1
    assert any(line.startswith("not ok") and line.endswith(rule) for line in out.splitlines()), out
    assert f"# {file}:" in out or f"# {file.split('/')[0]}:" in out


def test_words_in_comments_and_strings_are_no_calls(tmp_path):
    make(tmp_path, {**GOOD, "userspace/app/x.c": APACHE + '/* not by ptrace */\nconst char *s = "ptrace";\n'})
    assert lint(tmp_path)[0] == 0
