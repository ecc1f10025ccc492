# SPDX-License-Identifier: Apache-2.0
"""A guest's root: spanhound, the programs it traces, Python and what they link to, at the same paths as on this machine."""
import glob
import os
import shlex
import stat
import subprocess
import sys
import sysconfig

HERE = os.path.dirname(os.path.abspath(__file__))
# Of Python's library: what tests of command lines never import, and what is large.
LEFT_OUT = ("__pycache__", "site-packages", "dist-packages", "test", "idlelib", "lib2to3", "tkinter", "ensurepip",
            "turtledemo", "pydoc_data")
TOOLS = ("bpftool", "strace", "gdb", "redis-server", "redis-cli")

INIT = """#!/bin/busybox sh
# No service manager: this is all that runs.
/bin/busybox --install -s /bin
export PATH={path} HOME=/root PYTHONDONTWRITEBYTECODE=1 SPANHOUND_OUTPUT={output}
# An emulated machine is some ten times slower than a real one.
export SPANHOUND_PATIENCE=10
mkdir -p /proc /sys /dev /tmp /run /root
chmod 1777 /tmp
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t debugfs debug /sys/kernel/debug
mount -t tracefs trace /sys/kernel/tracing 2>/dev/null
mount -t cgroup2 cgroup /sys/fs/cgroup 2>/dev/null
ip link set lo up
stty -F /dev/ttyS1 raw -echo
cd {cwd}
{command}
poweroff -f
"""


def pytest_command(output, e2e, tests, expression, limit_s):
    """The tests, and those behind one that took its process with it; nothing that such a one started lives on."""
    python = os.path.join(os.path.abspath(output), "venv", "bin", "python")
    paths = " ".join(shlex.quote(os.path.join(e2e, t)) for t in tests)
    select = f"-k {shlex.quote(expression)}" if expression else ""
    return f"""export SPANHOUND_RESULTS=/dev/ttyS1 SPANHOUND_DONE=/tmp/began SPANHOUND_TEST_LIMIT={limit_s} PYTHONPATH={HERE}
for attempt in 1 2 3 4 5 6 7 8; do
    {python} -m pytest {paths} -v -p guest -p no:cacheprovider --tb=short --no-header --show-capture=no {select}
    [ -e /tmp/began.end ] && break
    kill -9 -1
done"""


class Cpio:
    """The kernel's "newc" format (Documentation/driver-api/early-userspace/buffer-format.rst)."""

    def __init__(self, file):
        self.file = file
        self.seen = set()
        self.ino = 0

    def _entry(self, path, mode, data=b""):
        name = path.lstrip("/").encode() + b"\0"
        self.ino += 1
        fields = [self.ino, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0]
        head = b"070701" + "".join(f"{x:08X}" for x in fields).encode() + name
        self.file.write(head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4))

    def directory(self, path):
        """With those it lies in. A link (/lib -> usr/lib) stays one."""
        if path in ("", "/") or path in self.seen:
            return
        self.directory(os.path.dirname(path))
        self.seen.add(path)
        if os.path.islink(path):
            self._entry(path, stat.S_IFLNK | 0o777, os.readlink(path).encode())
            self.directory(os.path.realpath(path))
        else:
            self._entry(path, stat.S_IFDIR | 0o755)

    def write(self, path, data, mode=0o755):
        self.directory(os.path.dirname(path))
        self.seen.add(path)
        self._entry(path, stat.S_IFREG | mode, data)

    def copy(self, path):
        """A file of this machine; a link with what it leads to."""
        if path in self.seen or not os.path.lexists(path):
            return
        if os.path.islink(path):
            self.directory(os.path.dirname(path))
            self.seen.add(path)
            self._entry(path, stat.S_IFLNK | 0o777, os.readlink(path).encode())
            self.copy(os.path.join(os.path.dirname(path), os.readlink(path)))
        elif os.path.isdir(path):
            self.directory(path)
        elif os.path.isfile(path):
            with open(path, "rb") as f:
                self.write(path, f.read(), 0o755 if os.access(path, os.X_OK) else 0o644)

    def tree(self, top, left_out=()):
        self.directory(top)
        for folder, folders, files in os.walk(top):
            folders[:] = [d for d in folders if d not in left_out]
            for name in files + folders:
                self.copy(os.path.join(folder, name))

    def end(self):
        self._entry("TRAILER!!!", 0)


def libraries(binaries):
    """What dynamic executables and libraries link to, as ldd finds it."""
    found = set()
    p = subprocess.run(["ldd", *binaries], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for line in p.stdout.splitlines():
        words = line.split("=>")[-1].split()
        if words and words[0].startswith("/") and not words[0].endswith(":"):
            found.add(words[0])
    return found


def which(tool):
    p = subprocess.run(["which", tool], stdout=subprocess.PIPE, text=True, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    return p.stdout.strip()


def build(path, output, e2e, command):
    output = os.path.abspath(output)
    stdlib = sysconfig.get_path("stdlib")
    venv = os.path.join(output, "venv")
    site = glob.glob(os.path.join(venv, "lib", "python*", "site-packages"))[0]
    python = os.path.realpath(os.path.join(venv, "bin", "python"))
    tools = [t for t in map(which, TOOLS) if t]
    programs = os.path.join(output, "programs")
    binaries = [os.path.join(output, "spanhound"), python, "/bin/bash", *tools,
                *glob.glob(os.path.join(stdlib, "lib-dynload", "*.so")), *glob.glob(os.path.join(programs, "o2", "*[!od]"))]
    with open(path + ".new", "wb") as f:
        c = Cpio(f)
        for link in ("/bin", "/sbin", "/lib", "/lib64"):
            c.directory(link)
        c.copy(which("busybox"))
        for name in (*binaries, *libraries(binaries), "/etc/passwd", "/etc/group", "/etc/nsswitch.conf",
                     os.path.join(venv, "pyvenv.cfg"), os.path.join(venv, "bin", "python"), "/usr/bin/python3"):
            c.copy(name)
        c.tree(stdlib, LEFT_OUT + tuple(map(os.path.basename, glob.glob(os.path.join(stdlib, "config-*")))))
        for name in ("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "msgpack", "prometheus_client"):
            c.tree(os.path.join(site, name), ("__pycache__",))
        for name in (*glob.glob(os.path.join(site, "pytest-[0-9]*.dist-info", "*")), *glob.glob(os.path.join(site, "*.py"))):
            c.copy(name)
        c.tree(programs)
        c.tree(e2e, ("__pycache__",))
        c.copy(os.path.join(HERE, "guest.py"))
        search = f"{os.path.dirname(python)}:/usr/sbin:/usr/bin:/sbin:/bin"
        c.write("/init", INIT.format(path=search, output=output, cwd=e2e, command=command).encode())
        c.end()
    os.rename(path + ".new", path)
    return path


if __name__ == "__main__":
    sys.exit("run tests/kernels/run.py")
