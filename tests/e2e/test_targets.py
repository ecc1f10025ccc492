# SPDX-License-Identifier: Apache-2.0
"""Section 2: whom spanhound attaches to, and when it lets go."""
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import time

import pytest

import harness
import truth
from harness import spanhound_once, wait_for

PICK_UP_NS = 100_000_000


def nested_is_whole(result, p):
    return len(result.spans) == len(p.calls)


@pytest.fixture
def copy_of(tmp_path):
    """A program under a name of its own, so that no other process of the machine matches."""
    def make(program, name, variant="o2"):
        path = str(tmp_path / name)
        shutil.copy(harness.program_path(variant, program), path)
        return path
    return make


def test_by_pid(spanhound, program):
    p = program("calls", "nested")
    s = spanhound("--pid", p.pid, "-f", "p_*")
    p.run()
    assert nested_is_whole(s.stop(), p)


def test_by_name_glob(spanhound, program, copy_of):
    p = program("calls", "nested", path=copy_of("calls", "zebra-shop"))
    s = spanhound("--name", "zebra-*", "-f", "p_*")
    p.run()
    assert nested_is_whole(s.stop(), p)


def test_by_exe(spanhound, program, copy_of):
    path = copy_of("calls", "byexe")
    p = program("calls", "nested", path=path)
    s = spanhound("--exe", path, "-f", "p_*")
    p.run()
    assert nested_is_whole(s.stop(), p)


def test_by_exe_glob(spanhound, program, copy_of):
    path = copy_of("calls", "byexeglob")
    p = program("calls", "nested", path=path)
    s = spanhound("--exe", os.path.dirname(path) + "/byexeg*", "-f", "p_*")
    p.run()
    assert nested_is_whole(s.stop(), p)


def test_by_cmdline(spanhound, program):
    p = program("calls", "deep", "17")
    s = spanhound("--cmdline", "*deep 17*", "-f", "p_*")
    p.run()
    assert nested_is_whole(s.stop(), p)


def test_by_port(spanhound, copy_of):
    """The target inherited a listening socket."""
    listener = socket.create_server(("127.0.0.1", 0))
    os.set_inheritable(listener.fileno(), True)
    path = copy_of("late", "byport")
    log = path + ".log"
    p = subprocess.Popen([path, log, "tick", "50"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, close_fds=False)
    port = listener.getsockname()[1]
    listener.close()
    try:
        assert p.stdout.readline().startswith("pid ")
        s = spanhound("--port", port, "-f", "p_tick")
        p.stdin.write("go\n")
        p.stdin.flush()
        assert p.wait(harness.PATIENCE_S) == 0
        assert len(s.stop().spans) == 10
    finally:
        p.kill()


def test_lists_and_mixes(spanhound, program, copy_of):
    a, b = program("calls", "nested"), program("calls", "mutual")
    c = program("calls", "recursion", path=copy_of("calls", "mixed-in"))
    d = program("calls", "errors")  # not chosen, although the probes sit in its file
    s = spanhound("--pid", f"{a.pid},{b.pid}", "--name", "mixed-in", "-f", "p_*")
    for p in (a, b, c, d):
        p.run()
    r = s.stop()
    assert len(r.spans) == len(a.calls) + len(b.calls) + len(c.calls)
    assert not r.named("p_error_int")
    assert r.summary["processes"] == 3


def test_repeated_options(spanhound, program):
    a, b = program("calls", "nested"), program("calls", "mutual")
    s = spanhound("--pid", a.pid, "--pid", b.pid, "-f", "p_even", "-f", "p_odd", "-f", "p_leaf")
    a.run()
    b.run()
    r = s.stop()
    want = [c for p in (a, b) for c in p.calls if c.function in ("p_even", "p_odd", "p_leaf")]
    assert len(r.spans) == len(want)


def test_ready_line(spanhound, program):
    a, b = program("calls", "nested"), program("calls", "mutual")
    s = spanhound("--pid", f"{a.pid},{b.pid}", "-f", "p_leaf", "-f", "p_pair")
    assert s.ready_line == "spanhound: ready: 2 processes, 2 functions, 0 skipped"
    r = s.stop()
    assert r.summary["processes"] == 2 and r.summary["functions"] == 2 and r.summary["skipped"] == 0


@pytest.mark.parametrize("option,value", [("--name", "no-such-program"), ("--pid", "4194000"), ("--exe", "/no/such/*"),
                                          ("--cmdline", "*no such words*"), ("--port", "1")])
def test_no_match(option, value):
    status, out, err = spanhound_once("attach", option, value, "-f", "main")
    assert status == 2, err
    assert value in err, "says what it looked for"
    assert not out


def test_no_match_names_the_nearest(program, copy_of):
    program("calls", "nested", path=copy_of("calls", "quaggaserver"))
    status, _, err = spanhound_once("attach", "--name", "quagaserver", "-f", "main")
    assert status == 2
    assert "quagaserver" in err and "quaggaserver" in err, err


def test_no_such_function_names_the_nearest(program):
    p = program("calls", "nested")
    status, _, err = spanhound_once("attach", "--pid", p.pid, "-f", "p_laef")
    assert status != 0
    assert "p_laef" in err and "p_leaf" in err, err


def test_wait(spanhound, program, copy_of):
    """--wait: nothing matches yet; the first process to match is attached when it starts."""
    path = copy_of("late", "waited-for")
    s = spanhound("--name", "waited-for", "--wait", "-f", "p_tick", wait_ready=False)
    wait_for(lambda: harness.has_bpf(s.pid) or s.process.poll() is not None, "its programs to be loaded")
    assert s.process.poll() is None, s.stderr
    p = program("late", "tick", "300", path=path)
    s.wait_ready()
    p.run()
    assert len(s.stop().spans) == len(p.calls)


def test_wait_ends_by_signal(spanhound):
    s = spanhound("--name", "never-comes-by", "--wait", "-f", "x", wait_ready=False)
    wait_for(lambda: harness.has_bpf(s.pid), "its programs to be loaded")
    s.process.send_signal(signal.SIGINT)
    assert s.wait_exit(10) == 0, s.stderr


def holds_signals(pid):
    """Whether SIGINT waits for a process to ask for it."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as f:
            blocked = next(line for line in f if line.startswith("SigBlk:"))
    except (OSError, StopIteration):
        return False
    return bool(int(blocked.split()[1], 16) >> signal.SIGINT - 1 & 1)


@pytest.mark.parametrize("link", harness.LINKS)
def test_ends_cleanly_while_it_starts(spanhound, program, info, link):
    """A signal at any moment between the first and the line `ready`: a clean run without spans."""
    why = harness.link_missing(info, link)
    if why:
        pytest.skip(why)
    p = program("calls", "nested")
    moments = random.Random(1)
    for i in range(200 if harness.SOAK else 10):
        s = spanhound("--pid", p.pid, "-f", "p_leaf", "--link", link, wait_ready=False)
        wait_for(lambda s=s: holds_signals(s.pid) or s.process.poll() is not None, "it to take over signals")
        time.sleep(moments.uniform(0, 0.25))
        r = s.stop(signal.SIGINT if i % 2 else signal.SIGTERM)
        assert r.summary["seen"] == 0
    assert harness.uprobes_in(p.pid, p.path) == 0
    assert p.run().status == 0


@pytest.mark.alone
def test_latecomer_within_100_ms(spanhound, program, copy_of, tmp_path, background):
    """From exec to traced: the calls after 100 ms are all there."""
    path = copy_of("late", "prompt")
    holder = program("late", "tick", "5", path=path)
    s = spanhound("--name", "prompt", "-f", "p_tick")
    log = str(tmp_path / "prompt.log")
    p = background(path, log, "tick", "400", stdin=subprocess.DEVNULL, env=harness.target_environment({"TRUTH_NOWAIT": "1"}))
    assert p.wait(harness.PATIENCE_S) == 0
    r = s.stop()
    calls = truth.read(log)
    must = [c for c in calls if c.image_age_ns > PICK_UP_NS]
    got = [x for x in r.spans if x["metrics"].get("thread.id") == p.pid]
    assert must and len(got) >= len(must), f"{len(got)} of {len(calls)} calls seen, {len(must)} began after 100 ms"
    holder.run()


@pytest.mark.alone
def test_by_name_after_exec_of_another_program(spanhound, background, copy_of, tmp_path):
    """A process that turns into a match by exec is picked up; one that turns into something else is dropped."""
    path = copy_of("late", "turncoat")
    holder_log, log = str(tmp_path / "a.log"), str(tmp_path / "b.log")
    holder = subprocess.Popen([path, holder_log, "tick", "5"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        s = spanhound("--name", "turncoat", "-f", "p_tick")
        p = background("/bin/sh", "-c", f"exec {path} {log} tick 300", stdin=subprocess.DEVNULL,
                       env=harness.target_environment({"TRUTH_NOWAIT": "1"}))
        assert p.wait(harness.PATIENCE_S) == 0
        got = [x for x in s.stop().spans if x["metrics"].get("thread.id") == p.pid]
        assert len(got) >= len([c for c in truth.read(log) if c.image_age_ns > PICK_UP_NS]) > 0
    finally:
        holder.kill()
        holder.wait()


def test_dropped_at_exit(spanhound, program, copy_of):
    """After the last match ended spanhound goes on (more may come) and its account is closed."""
    p = program("calls", "nested", path=copy_of("calls", "shortlived"))
    s = spanhound("--name", "shortlived", "-f", "p_*")
    p.run()
    assert s.process.poll() is None
    assert nested_is_whole(s.stop(), p)


@pytest.mark.parametrize("flags", [("-m",), ("-p", "-f"), ("-m", "-p", "-f", "--mount-proc")],
                         ids=["mount", "pid", "mount+pid"])
def test_namespaces(spanhound, program, copy_of, flags):
    name = f"inside-{len(flags)}-ns"  # the others run beside it
    path = copy_of("calls", name)
    p = program("calls", "nested", path=path, prefix=("unshare", *flags))
    inner = wait_for(lambda: harness.pids_of_exe(path), "the process inside")
    s = spanhound("--name", name, "-f", "p_*")
    p.run()
    r = s.stop()
    assert nested_is_whole(r, p)
    pids = {x["metrics"]["process_id"] for x in r.spans if "process_id" in x["metrics"]}
    assert pids and pids <= {float(inner[0]), float(p.said_pid)}


def test_pids_of_both_views(spanhound, program, copy_of):
    path = copy_of("calls", "two-views")
    program("calls", "nested", path=path, prefix=("unshare", "-p", "-f", "--mount-proc"))
    outer = wait_for(lambda: harness.pids_of_exe(path), "the process inside")[0]
    status, out, err = spanhound_once("functions", "--name", "two-views", "p_leaf")
    assert status == 0, err
    s = spanhound("--pid", outer, "-f", "p_leaf")
    s.stop()


def test_own_mount_namespace_with_another_file(spanhound, program, tmp_path, copy_of):
    """The path of the executable means another file outside: it must be opened as the process sees it."""
    inside, outside = copy_of("calls", "seen-inside"), copy_of("args", "seen-outside")
    mountpoint = tmp_path / "here"
    shutil.copy(outside, mountpoint)
    script = f"mount --bind {inside} {mountpoint} && exec {mountpoint} \"$@\""
    p = program("calls", "nested", path=str(mountpoint), prefix=("unshare", "-m", "sh", "-c", script, "sh"),
                skip_path=True)
    s = spanhound("--name", "here", "-f", "p_*")
    p.run()
    assert nested_is_whole(s.stop(), p)


def test_overlayfs(spanhound, program, tmp_path, copy_of):
    lower, upper, work, merged = (tmp_path / n for n in ("lower", "upper", "work", "merged"))
    for d in (lower, upper, work, merged):
        d.mkdir()
    shutil.copy(harness.program_path("o2", "calls"), lower / "layered")
    mounted = subprocess.run(["mount", "-t", "overlay", "overlay", "-o",
                              f"lowerdir={lower},upperdir={upper},workdir={work}", str(merged)], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no overlayfs here: {mounted.stderr.strip()}")
    try:
        p = program("calls", "nested", path=str(merged / "layered"))
        s = spanhound("--name", "layered", "-f", "p_*")
        p.run()
        assert nested_is_whole(s.stop(), p)
    finally:
        p.kill()
        subprocess.run(["umount", str(merged)], check=True)


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_executable_gone(spanhound, program, copy_of, how):
    path = copy_of("calls", f"was-{how}")
    p = program("calls", "nested", path=path)
    os.unlink(path)
    if how == "replaced":
        shutil.copy(harness.program_path("o2", "args"), path)
    s = spanhound("--pid", p.pid, "-f", "p_*")
    p.run()
    assert nested_is_whole(s.stop(), p)


def test_executable_deleted_by_name(spanhound, program, copy_of):
    path = copy_of("calls", "gone-by-name")
    p = program("calls", "nested", path=path)
    os.unlink(path)
    s = spanhound("--name", "gone-by-name", "-f", "p_*")
    p.run()
    assert nested_is_whole(s.stop(), p)


@pytest.mark.parametrize("variant,functions", [("minidebug", "p_*"), ("split", "p_*"), ("dynsym", "p_*")])
def test_symbols_elsewhere(spanhound, program, variant, functions):
    """.gnu_debugdata, a separate debug file, .dynsym alone."""
    p = program("calls", "nested", variant=variant)
    s = spanhound("--pid", p.pid, "-f", functions)
    p.run()
    assert nested_is_whole(s.stop(), p)


def test_build_id_debug_file(spanhound, program, tmp_path):
    """/usr/lib/debug/.build-id/xx/yyyy.debug, as Debian's -dbgsym packages install it."""
    path = str(tmp_path / "by-build-id")
    full, build_id = path + ".full", os.urandom(20)
    note = tmp_path / "note"  # elf(5), Nhdr: a build id that no other file of the machine has
    note.write_bytes(struct.pack("<III", 4, len(build_id), 3) + b"GNU\0" + build_id)
    subprocess.run(["objcopy", "--update-section", f".note.gnu.build-id={note}", harness.program_path("o2", "calls"), full],
                   check=True)
    subprocess.run(["strip", "-s", "-o", path, full], check=True)
    debug = f"/usr/lib/debug/.build-id/{build_id.hex()[:2]}/{build_id.hex()[2:]}.debug"
    made = not os.path.isdir(os.path.dirname(debug))
    os.makedirs(os.path.dirname(debug), exist_ok=True)
    subprocess.run(["objcopy", "--only-keep-debug", full, debug], check=True)
    try:
        p = program("calls", "nested", path=path)
        s = spanhound("--pid", p.pid, "-f", "p_*")
        p.run()
        assert nested_is_whole(s.stop(), p)
    finally:
        os.unlink(debug)
        if made:
            os.rmdir(os.path.dirname(debug))


def test_stripped_says_so(program):
    p = program("calls", "nested", variant="stripped")
    status, _, err = spanhound_once("attach", "--pid", p.pid, "-f", "p_leaf")
    assert status != 0 and "p_leaf" in err
    assert "symbol" in err, f"says that the program has no symbols: {err}"


def test_stripped_by_address(spanhound, program, tmp_path):
    """`address:` for code without a symbol."""
    nm = subprocess.run(["nm", harness.program_path("o2", "calls")], capture_output=True, text=True).stdout
    address = next(line.split()[0] for line in nm.splitlines() if line.endswith(" p_leaf"))
    p = program("calls", "nested", variant="stripped")
    config = tmp_path / "address.yaml"
    config.write_text(f"probes:\n  - address: 0x{address}\n    span: {{name: leaf}}\n")
    s = spanhound("--pid", p.pid, "-c", config)
    p.run()
    r = s.stop()
    assert len(r.named("leaf")) == sum(c.function == "p_leaf" for c in p.calls)


def test_interpreter_by_script_name(background, tmp_path):
    """--name finds a script by its own name, not only by its interpreter's."""
    script = tmp_path / "weather-report.py"
    script.write_text("import sys\nprint('up', flush=True)\nsys.stdin.read()\n")
    p = background("/usr/bin/python3", str(script), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert p.stdout.readline() == "up\n"
    status, out, err = spanhound_once("functions", "--name", "weather-report.py", "Py_*Main*")
    assert status == 0, err


def test_only_chosen_threads_of_shared_inode(spanhound, program):
    """Probes sit on the file, which other processes run too: these produce nothing."""
    chosen, other = program("calls", "nested"), program("calls", "nested")
    s = spanhound("--pid", chosen.pid, "-f", "p_*")
    other.run()
    chosen.run()
    r = s.stop()
    assert nested_is_whole(r, chosen)
    assert r.summary["seen"] == len(chosen.calls)


def test_children_are_followed(spanhound, program):
    """A forked child is traced from its first instruction."""
    p = program("calls", "fork")
    s = spanhound("--pid", p.pid, "-f", "p_*")
    p.run()
    r = s.stop()
    assert len(r.spans) == len(p.calls)
    assert len({c.pid for c in p.calls}) == 4


@pytest.mark.alone
def test_late_library(spanhound, program):
    """A library that is loaded after the attach."""
    p = program("late", "dlopen", harness.program_path("o2", "libplug.so.1"))
    s = spanhound("--pid", p.pid, "-c", harness.write(s_dir(p), "late.yaml", """
probes:
  - function: p_load
  - function: p_plug_*
    library: libplug.so*
    optional: true
"""))
    p.run()
    r = s.stop()
    calls = p.calls
    load = next(c for c in calls if c.function == "p_load")
    must = [c for c in calls if c.function == "p_plug_work" and c.enter_ns - load.end_ns > PICK_UP_NS]
    got = r.named("p_plug_work")
    assert len(must) <= len(got) <= len(must) + 25, f"{len(got)} calls seen, {len(must)} began 100 ms after the dlopen"
    assert len(r.named("p_load")) == 1


def s_dir(p):
    return os.path.dirname(p.log)


def test_library_filter_leaves_the_executable_alone(spanhound, program, tmp_path):
    p = program("calls", "nested")
    config = harness.write(tmp_path, "lib.yaml", "probes:\n  - function: p_leaf\n    library: libc.so*\n")
    status, _, err = spanhound_once("attach", "--pid", p.pid, "-c", config)
    assert status != 0 and "p_leaf" in err and "libc" in err, err


def test_function_of_libc(spanhound, program, tmp_path):
    """A shared library that every process maps: only the chosen one is seen."""
    p = program("calls", "pthread_exit")
    config = harness.write(tmp_path, "libc.yaml", "probes:\n  - function: pthread_exit\n    library: libc.so*\n")
    s = spanhound("--pid", p.pid, "-c", config)
    p.run()
    r = s.stop()
    assert p.status == 0
    assert len(r.named("pthread_exit")) == 8


@pytest.mark.alone
def test_duration(spanhound, hot):
    h = hot(1, 1000).go()
    begin = time.monotonic()
    s = spanhound("--pid", h.pid, "-f", "p_hot", "--duration", "1500ms")
    r = s.result()
    assert 1.5 <= time.monotonic() - begin < 20
    longest = max(x["start"] for x in r.spans) - min(x["start"] for x in r.spans)
    assert 1.0e9 < longest < 1.7e9
    h.stop()


def test_count(spanhound, hot):
    h = hot(1, 5000).go()
    s = spanhound("--pid", h.pid, "-f", "p_hot", "--count", "100")
    r = s.result()
    assert len(r.spans) >= 100
    h.stop()


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM], ids=lambda s: s.name)
def test_ends_cleanly_by(spanhound, program, sig):
    p = program("calls", "nested")
    s = spanhound("--pid", p.pid, "-f", "p_*")
    objects = harness.kernel_objects_of(s.pid)
    p.run()
    assert nested_is_whole(s.stop(sig), p)
    wait_for(lambda: harness.are_gone(objects), "programs, maps and links to be gone")


def test_imported_function_is_not_the_executables(program):
    """The executable only has a PLT entry for it."""
    p = program("calls", "nested")
    status, _, err = spanhound_once("attach", "--pid", p.pid, "-f", "longjmp")
    assert status == 2 and "longjmp" in err, err


def test_library_shared_with_others(spanhound, program, tmp_path):
    """Who pays: the breakpoints in a shared library are in the chosen process alone."""
    library = harness.program_path("o2", "libplug.so.1")
    chosen, other = program("late", "dlopen_hold", library).go(), program("late", "dlopen_hold", library).go()
    for p in (chosen, other):
        wait_for(lambda p=p: "libplug" in open(f"/proc/{p.pid}/maps").read(), "the library to be loaded")
    s = spanhound("--pid", chosen.pid, "-c", harness.write(tmp_path, "plug.yaml",
                                                           "probes:\n  - function: p_plug_*\n    library: libplug.so*\n"))
    assert harness.uprobes_in(chosen.pid, library) > 0
    assert harness.uprobes_in(other.pid, library) == 0
    other.run()
    chosen.run()
    r = s.stop()
    assert len(r.named("p_plug_work")) == sum(c.function == "p_plug_work" for c in chosen.calls) == 100
    assert {x["metrics"]["thread.id"] for x in r.spans} == {chosen.pid}
    assert chosen.status == other.status == 0


@pytest.mark.alone
@pytest.mark.parametrize("shared", [False, True], ids=["alone", "shared"])
def test_forked_child_calls_a_library(spanhound, program, tmp_path, shared):
    """Links on a library that others map too name a process, so a child's come after its birth: what it did before is
    counted as a gap. Links on a library of its own see it from the start."""
    library = str(tmp_path / "libplug.so.1")
    shutil.copy(harness.program_path("o2", "libplug.so.1"), library)
    if shared:
        other = program("late", "dlopen_hold", library).go()
        wait_for(lambda: "libplug" in open(f"/proc/{other.pid}/maps").read(), "the other to load the library")
    p = program("late", "dlopen_fork", library).go()
    wait_for(lambda: "libplug" in open(f"/proc/{p.pid}/maps").read(), "the library to be loaded")
    s = spanhound("--pid", p.pid, "-c", harness.write(tmp_path, "plug.yaml",
                                                      "probes:\n  - function: p_plug_work\n    library: libplug.so*\n"))
    p.run()
    r = s.stop()
    calls = [c for c in p.calls if c.function == "p_plug_work"]
    assert p.status == 0 and len(calls) == 102
    mine = [x for x in r.spans if x["metrics"]["thread.id"] == p.pid]
    born = [x for x in r.spans if x["metrics"]["thread.id"] != p.pid]
    assert len(mine) == 2
    if shared:
        first = min(c.enter_ns for c in calls if c.pid != p.pid)
        must = [c for c in calls if c.pid != p.pid and c.enter_ns - first > PICK_UP_NS]
        assert len(must) <= len(born) <= 100
        assert r.summary["gaps"] == 1 and r.summary["gap_ns"] > 0
        assert "ran unprobed" in r.stderr, "the gap is said"
    else:
        assert len(born) == 100 and r.summary["gaps"] == 0


def test_children_that_were_there_before(spanhound, program):
    """--pid of a parent: its children that run the same program belong to it, also those that are older than spanhound."""
    p = program("calls", "fork_and_wait", "hold").go()
    children = wait_for(lambda: children_of(p.pid), "its child")
    s = spanhound("--pid", p.pid, "-f", "p_*")
    assert s.ready_line.startswith("spanhound: ready: 2 processes")
    p.run()
    r = s.stop()
    assert p.status == 0
    assert len(r.spans) == len(p.calls) > 0
    assert {x["metrics"]["thread.id"] for x in r.spans} == {p.pid, *children}


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as f:
        return [int(x) for x in f.read().split()]


def test_names_as_a_list(spanhound, program, copy_of):
    a, b = (program("calls", "nested", path=copy_of("calls", n)) for n in ("first-of-two", "second-of-two"))
    s = spanhound("--name", "first-of-two,second-of-*", "-f", "p_*")
    a.run()
    b.run()
    assert len(s.stop().spans) == len(a.calls) + len(b.calls)


def test_another_name_of_the_same_file(spanhound, program, copy_of):
    """The probes sit on the file, which has two names; only one was chosen."""
    path = copy_of("calls", "chosen-name")
    os.link(path, os.path.join(os.path.dirname(path), "other-name"))
    chosen = program("calls", "nested", path=path)
    s = spanhound("--name", "chosen-name", "-f", "p_*")
    late = program("calls", "nested", path=os.path.join(os.path.dirname(path), "other-name"))
    late.run()
    chosen.run()
    r = s.stop()
    assert {x["metrics"]["thread.id"] for x in r.spans} == {chosen.pid}
    assert nested_is_whole(r, chosen)


def test_many_short_lives(spanhound, program, copy_of, background):
    """Processes that come and go by the hundred leave nothing open in spanhound."""
    path = copy_of("calls", "dayfly")
    holder = program("calls", "nested", path=path)
    s = spanhound("--name", "dayfly", "-f", "p_*")
    before = len(os.listdir(f"/proc/{s.pid}/fd"))
    script = f"for i in $(seq 100); do {path} /dev/null nested; done"
    p = background("/bin/sh", "-c", script, stdin=subprocess.DEVNULL, env=harness.target_environment({"TRUTH_NOWAIT": "1"}),
                   stdout=subprocess.DEVNULL)
    assert p.wait(harness.PATIENCE_S) == 0
    wait_for(lambda: len(os.listdir(f"/proc/{s.pid}/fd")) <= before + 5, "what they held open to be closed")
    holder.run()
    r = s.stop()
    assert len(r.spans) == 101 * len(holder.calls)


def test_private_pages_are_said(spanhound, program):
    """A probe makes its page private to each process: `functions` and the summary say how many."""
    p = program("calls", "nested")
    status, out, err = spanhound_once("functions", "--pid", p.pid, "p_*")
    assert status == 0 and " KiB, for all of these" in out, out
    s = spanhound("--pid", p.pid, "-f", "p_*")
    smaps = open(f"/proc/{p.pid}/smaps", encoding="utf-8").read().split("VmFlags:")
    text = next(x for x in smaps if p.path in x and " r-xp " in x)
    private_kib = int(next(line for line in text.splitlines() if line.startswith("Anonymous:")).split()[1])
    r = s.stop()
    assert private_kib == 4 * r.summary["pages"] > 0
    assert f"{private_kib} KiB a process" in r.stderr


def test_fewer_functions_by_perf_links(spanhound, program, info):
    """Each takes the kernel a tenth of a second to remove: the default is lower, what is beyond it is said."""
    why = harness.link_missing(info, "perf")
    if why:
        pytest.skip(why)
    p = program("calls", "nested")
    r = spanhound("--pid", p.pid, "-f", "p_leaf", "--link", "perf").stop()
    assert r.summary["max_functions"] == 250
    assert "250" in spanhound_once("attach", "--help")[1]
    s = spanhound("--pid", p.pid, "-f", "p_*", "--link", "perf", "--max-functions", 3)
    p.run()
    r = s.stop()
    assert r.summary["functions"] == r.summary["max_functions"] == 3 and r.summary["limited"] > 40
    assert "beyond the limit of 3" in r.stderr and "a tenth of a second" in r.stderr and "--max-functions" in r.stderr
    assert r.summary["seen"] == len(r.spans)
