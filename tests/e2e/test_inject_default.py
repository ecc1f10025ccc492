# SPDX-License-Identifier: Apache-2.0
"""Who gets headers when nobody said anything about it: `attach` and `run` put some where that is safe, a daemon is told to."""
import socket

from harness import PATIENCE_S, write
from test_inject import HTTP_CLIENT, Client, Large, blocks, check_blocks, clients, fetch, need_inject, nginx, receiver  # noqa: F401


def test_attach(spanhound, background, receiver):  # noqa: F811
    r = receiver()
    c = Client(background, HTTP_CLIENT, "127.0.0.1", r.port, 5)
    s = spanhound("--pid", c.pid, headers=True)
    c.go().finish()
    result = s.stop()
    inject = need_inject(result)
    assert inject["reasons"] == {"done": 5} and "headers injected: done 5" in result.stderr
    check_blocks(blocks(r.all), clients(result))


def test_run(spanhound, receiver):  # noqa: F811
    r = receiver()
    result = spanhound(command="run", after=("--", "/usr/bin/curl", "-s", f"http://127.0.0.1:{r.port}/"), wait_ready=False, headers=True).result()
    need_inject(result)
    check_blocks(blocks(r.all), clients(result))
    assert len(blocks(r.all)) == 1


def test_nobody_could(spanhound, nginx, tmp_path, info):  # noqa: F811
    """Where the chosen processes would be left alone anyway nothing is loaded, and nothing said. With others it is."""
    r = Large()
    n = nginx(r.port)
    s = spanhound("--pid", ",".join(map(str, n.tree())), headers=True)
    with socket.create_connection(("127.0.0.1", n.port), timeout=PATIENCE_S) as c:
        assert fetch(c) == Large.body()
    result = s.stop()
    r.close()
    if "FIONREAD" in info["injection"]["plain_lacks"]:
        assert not result.summary["inject"]["on"] and "no process that was chosen" in result.summary["inject"]["why_not"]
        assert "header" not in result.stderr
    else:
        assert result.summary["inject"]["reasons"] == {"done": 1}


def test_quiet(spanhound, hot, info):
    """Of whom no request was seen nothing is said."""
    h = hot(1, 0)
    result = spanhound("--pid", h.pid, headers=True).stop()
    assert result.summary["inject"]["on"] == info["injection"]["on"] and "header" not in result.stderr


def test_off(spanhound, background, receiver, tmp_path):  # noqa: F811
    """Nothing is written if that was said, by a daemon that was not told to, nor by processes that were not chosen."""
    r = receiver()
    off = write(tmp_path, "off.yaml", "propagation: {inject: off}\n")
    for n, (command, *options) in enumerate((("attach", "--no-inject"), ("attach", "--inject", "--no-inject"), ("attach", "-c", off), ("serve",))):
        c = Client(background, HTTP_CLIENT, "127.0.0.1", r.port, 2)
        if command == "serve":
            options = ["-c", write(tmp_path, f"{n}.yaml", f"targets: [{{pid: {c.pid}}}]\n")]
        else:
            options += ["--pid", c.pid]
        s = spanhound(*options, command=command, headers=True)
        c.go().finish()
        assert not s.stop().summary["inject"]["on"], (command, options)
    chosen, other = (Client(background, HTTP_CLIENT, "127.0.0.1", r.port, 2) for _ in range(2))
    s = spanhound("--pid", chosen.pid, headers=True)
    other.go().finish()
    result = s.stop()
    assert result.summary["inject"]["enrolled"] == 0
    assert len(r.streams) == 5 and not blocks(r.all)
