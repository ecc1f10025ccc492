# SPDX-License-Identifier: Apache-2.0
"""What the tests of HTTP start and how they look at spans: scenes (both ends by hand, scenes.py) and real servers."""
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field

import pytest

import harness
from harness import PATIENCE_S, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
SCENES = os.path.join(HERE, "scenes.py")


# --- scenes ---------------------------------------------------------------------------------------------------------

class End:
    """One process of a scene."""

    def __init__(self, tmp, *args, prefix=()):
        self.errors = open(os.path.join(tmp, f"scene-{time.monotonic_ns()}.log"), "w+", encoding="utf-8")
        self.process = subprocess.Popen([*prefix, sys.executable, SCENES, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.errors, text=True, env=harness.target_environment())
        self.said = self.read_line().split()
        self.pid = self.process.pid

    def read_line(self):
        line = self.process.stdout.readline()
        assert line, f"{self.process.args} said nothing; {self.stderr}"
        return line

    @property
    def stderr(self):
        self.errors.seek(0)
        return self.errors.read()

    def go(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self

    def finish(self):
        try:
            status = self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.process.args} hangs; {self.stderr}") from None
        assert status == 0, f"{self.process.args} ended with {status}; {self.stderr}"

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for f in (self.process.stdin, self.process.stdout, self.errors):
            try:
                f.close()
            except OSError:
                pass


@dataclass
class Seen:
    """The spans of a run, of its server's and its client's processes."""
    spans: list
    summary: dict
    servers: list = field(default_factory=list)
    clients: list = field(default_factory=list)

    @property
    def pairs(self):
        """(client span, server span) of each request, in the order of the clients'."""
        by_parent = {s["parent_id"]: s for s in self.servers}
        return [(c, by_parent.get(c["span_id"])) for c in self.clients]


def kind(span):
    return span["meta"].get("span.kind")


def seen(result):
    spans = sorted(result.spans, key=lambda s: s["start"])
    s = Seen(spans, result.summary)
    s.servers = [x for x in spans if kind(x) == "server"]
    s.clients = [x for x in spans if kind(x) == "client"]
    return s


def path_of(span):
    """Path and query of its URL."""
    url = span["meta"].get("http.url", "")
    return url[url.index("/", url.index("//") + 2):] if "//" in url and "/" in url[url.index("//") + 2:] else url


def paths(spans):
    return [path_of(s) for s in spans]


def status(span):
    return int(span["meta"].get("http.status_code", 0))


def check(span, **want):
    """Looks up each in the span, its meta, its metrics: dots are written as __."""
    for key, value in want.items():
        name = key.replace("__", ".")
        got = span.get(name, span["meta"].get(name, span["metrics"].get(name)))
        assert got == value, f"{name} is {got!r}, should be {value!r} in {span}"


def check_request(span, method, path, code, request_sz=None, response_sz=None, error=0, minor="1.1"):
    check(span, http__method=method, http__status_code=str(code), http__version=minor, error=error, component="http")
    assert path_of(span) == path, span
    if request_sz is not None:
        check(span, http__request__content_length=request_sz)
    if response_sz is not None:
        check(span, http__response__content_length=response_sz)
    server = kind(span) == "server"
    check(span, name="http.server.request" if server else "http.client.request", type="web" if server else "http")


def check_joined(client, server):
    """The server's span hangs under the client's, in its trace, within its time."""
    assert server, f"no server span under {client}"
    check(server, parent_id=client["span_id"], trace_id=client["trace_id"], spanhound__link="peer")
    assert server["trace_id_128"] == client["trace_id_128"]
    # The kernel's records are made when system calls return, on two processors: those of one message may be in any order, and
    # a virtual processor may stand still between the bytes and the record.
    slack = 1_000_000_000
    assert client["start"] <= server["start"] + slack, (client, server)


def check_sane(spans):
    now = time.time_ns()
    for s in spans:
        assert now - 600e9 < s["start"] <= now, s
        assert 0 < s["duration"] < 60e9, s
        first = s["metrics"].get("spanhound.first_byte_ns")
        assert first is None or 0 <= first <= s["duration"], s


# --- servers --------------------------------------------------------------------------------------------------------

def wait_port(port, process=None, host="127.0.0.1"):
    """Until somebody listens; found in /proc, so that no connection is made for it."""
    want = f":{port:04X} "

    def listening():
        assert process is None or process.poll() is None, f"{process.args} ended with {process.returncode}"
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            with open(table, encoding="ascii") as f:
                if any(want in line.split(":", 1)[1] and line.split()[3] == "0A" for line in f.readlines()[1:]):
                    return True
        return False

    wait_for(listening, f"a listener on port {port}")


def wait_path(path, process):
    """Until somebody listens on this Unix socket."""
    def listening():
        assert process.poll() is None, f"{process.args} ended with {process.returncode}"
        with open("/proc/net/unix", encoding="ascii", errors="replace") as f:
            rows = [line.split() for line in f]
        return any(row[-1] == path and row[3] == "00010000" for row in rows)

    wait_for(listening, f"a listener on {path}")


class Server:
    """A process that serves on `port`, of whatever program: started, listening, stopped at the end of the test. The port may be
    the path of a Unix socket."""

    def __init__(self, command, port, tmp, cwd=None, env=None):
        self.port = port
        self.log_path = os.path.join(tmp, f"server-{os.path.basename(str(port))}.log")
        self.log = open(self.log_path, "wb")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, cwd=cwd,
                                        env=harness.target_environment(env), start_new_session=True)
        self.pid = self.process.pid
        try:
            (wait_path if isinstance(port, str) else wait_port)(port, self.process)
        except AssertionError as e:
            self.stop()
            with open(self.log_path, encoding="utf-8", errors="replace") as f:
                raise AssertionError(f"{e}: {f.read()[-2000:]}") from None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def tree(self):
        """It and its descendants."""
        found = [self.pid]
        for pid in found:
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as f:
                    found += map(int, f.read().split())
        return found

    def stop(self):
        try:
            os.killpg(self.pid, 15)
            self.process.wait(5)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass
        try:
            os.killpg(self.pid, 9)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.log.close()


def needs(*programs):
    for p in programs:
        if not shutil.which(p):
            pytest.skip(f"no {p}")


def go_program(folder, source, name="serve", flags=()):
    """Built without cgo; the path of the executable."""
    needs("go")
    os.makedirs(folder, exist_ok=True)
    harness.write(folder, "main.go", source)
    harness.write(folder, "go.mod", f"module {name}\n\ngo 1.19\n")
    build = subprocess.run(["go", "build", *flags, "-o", name, "."], cwd=folder, capture_output=True, text=True,
                           env={**os.environ, "GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod"})
    assert build.returncode == 0, build.stderr
    return os.path.join(folder, name)


NGINX = """daemon off; master_process {master}; worker_processes {workers}; pid {dir}/nginx.pid; error_log {dir}/error.log info;
events {{ worker_connections 2048; }}
http {{
  access_log off; client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/f;
  uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s; keepalive_requests 1000000;
  {http}
  server {{ listen {port} reuseport; {server} }}
}}
"""


def nginx(tmp, port, server, http="", workers=1, executable="nginx", env=None):
    folder = os.path.join(tmp, f"nginx-{port}")
    os.mkdir(folder)
    os.chmod(tmp, 0o755)
    os.chmod(folder, 0o777)
    config = harness.write(folder, "nginx.conf", "user root;" * (os.getuid() == 0) + NGINX.format(
        dir=folder, port=port, server=server, http=http, workers=workers, master="on" if workers > 1 else "off"))
    return Server([executable, "-p", folder, "-c", config], port, tmp, env=env)


APACHE = """ServerRoot {dir}
ServerName localhost
PidFile {dir}/httpd.pid
Listen {port}
ErrorLog {dir}/error.log
DefaultRuntimeDir {dir}
LoadModule mpm_{mpm}_module {modules}/mod_mpm_{mpm}.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule alias_module {modules}/mod_alias.so
LoadModule mime_module {modules}/mod_mime.so
TypesConfig /etc/mime.types
DocumentRoot {dir}
{limits}
<Directory {dir}>
Require all granted
</Directory>
Redirect 302 /gone http://elsewhere.test/
"""


def apache(tmp, port, mpm):
    folder = os.path.join(tmp, f"apache-{port}")
    os.mkdir(folder)
    os.chmod(tmp, 0o755)
    for name, size in (("small.txt", 100), ("large.bin", 300_000)):
        harness.write(folder, name, "x" * size)
    limits = {"prefork": "StartServers 3\nMinSpareServers 3\nMaxRequestWorkers 8",
              "event": "StartServers 1\nThreadsPerChild 8\nMinSpareThreads 8\nMaxRequestWorkers 16"}[mpm]
    config = harness.write(folder, "httpd.conf", APACHE.format(dir=folder, port=port, mpm=mpm, limits=limits,
                                                               modules="/usr/lib/apache2/modules"))
    return Server(["apache2", "-DFOREGROUND", "-f", config], port, tmp)
