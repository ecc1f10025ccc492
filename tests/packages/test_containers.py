# SPDX-License-Identifier: Apache-2.0
"""The image in containers, with no more privilege than deploy/ gives it: for all of the host, and as the sidecar of one
application whose PID namespace it shares."""
import glob
import json
import os
import shutil
import signal
import subprocess
import urllib.request

import agents
import harness
import pytest
import yaml

from conftest import ROOT
from test_manifests import NEEDED, tracer

pytestmark = pytest.mark.slow
# The limits that crun and runc would raise need a capability that a build machine may lack.
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000")
# Unlike Docker's and Kubernetes', podman's read-only root has a writable /run and /dev/shm by itself.
READ_ONLY = ("--read-only", "--read-only-tmpfs=false")
CAPABILITY_NUMBERS = {"DAC_READ_SEARCH": 2, "SYS_PTRACE": 19, "PERFMON": 38, "BPF": 39,
                      "CHECKPOINT_RESTORE": 40}
NGINX = """daemon off; user root; worker_processes 1; error_log stderr; pid /tmp/nginx.pid;
events {}
http { access_log off; client_body_temp_path /tmp/b; proxy_temp_path /tmp/p; fastcgi_temp_path /tmp/f; uwsgi_temp_path /tmp/u;
       scgi_temp_path /tmp/s; server { listen 127.0.0.1:%d; root /srv; } }
"""
REQUESTS = 5


def of_compose():
    """podman's words for the privileges of deploy/compose.yaml."""
    with open(os.path.join(ROOT, "deploy", "compose.yaml"), encoding="utf-8") as f:
        service = yaml.safe_load(f)["services"]["spanhound"]
    words = [*(READ_ONLY if service["read_only"] else ()), "--user", service["user"], "--memory", service["mem_limit"]]
    words += [w for c in service["cap_drop"] for w in ("--cap-drop", c)] + [w for c in service["cap_add"] for w in ("--cap-add", c)]
    words += [w for t in service["tmpfs"] for w in ("--tmpfs", t)] + ["--pid", service["pid"], "--network", service["network_mode"]]
    for option in service["security_opt"]:  # of AppArmor's, a machine without it wants to hear nothing
        words += [] if "apparmor" in option and not apparmor() else ["--security-opt", option.replace(":true", "").replace(":", "=")]
    return words + [w for v in service["volumes"] if v.startswith("/sys/") for w in ("-v", v)]


def of_kubernetes(name):
    """podman's words for the privileges of a pod's container, but for its namespaces."""
    pod, container = tracer(os.path.join(ROOT, "deploy", "kubernetes", name))
    context, volumes = container["securityContext"], {v["name"]: v for v in pod["volumes"]}
    words = [*(READ_ONLY if context["readOnlyRootFilesystem"] else ()), "--user", str(context["runAsUser"]),
             "--memory", container["resources"]["limits"]["memory"].replace("Mi", "m")]
    words += [w for c in context["capabilities"]["drop"] for w in ("--cap-drop", c)]
    words += [w for c in context["capabilities"]["add"] for w in ("--cap-add", c)]
    words += [] if context["allowPrivilegeEscalation"] else ["--security-opt", "no-new-privileges"]
    words += ["--security-opt", "seccomp=" + context["seccompProfile"]["type"].lower()]
    words += ["--security-opt", "apparmor=" + context["appArmorProfile"]["type"].lower()] if apparmor() else []
    for m in container["volumeMounts"]:
        volume = volumes[m["name"]]
        if "emptyDir" in volume:
            words += ["--tmpfs", m["mountPath"]]
        elif "hostPath" in volume:
            words += ["-v", f"{volume['hostPath']['path']}:{m['mountPath']}" + (":ro" if m["readOnly"] else "")]
    return words


def apparmor():
    return os.path.exists("/sys/module/apparmor")


class Podman:
    """With a store of its own."""

    def __init__(self, folder):
        self.command = ["podman", "--root", f"{folder}/storage", "--runroot", f"{folder}/run", "--tmpdir", f"{folder}/tmp",
                        "--runtime", "runc", "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]
        self.running = []

    def __call__(self, *words, check=True, **kwargs):
        p = subprocess.run([*self.command, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=not kwargs,
                           timeout=harness.PATIENCE_S * 2, **kwargs)
        assert p.returncode == 0 or not check, f"podman {' '.join(words)}\n{p.stderr}"
        return p.stdout

    def run(self, name, *words):
        self.running.append(name)
        return self("run", "-d", "--name", name, *LIMITS, *words).strip()

    def logs(self, name):
        p = subprocess.run([*self.command, "logs", name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return p.stdout

    def inspect(self, name, what):
        return self("inspect", "-f", "{{%s}}" % what, name).strip()

    def end(self):
        for name in reversed(self.running):  # a sidecar before whom it stands beside
            self("rm", "-f", "-t", "5", name)


@pytest.fixture(scope="module")
def podman(make, tmp_path_factory):
    missing = [t for t in ("podman", "runc", "nginx") if not shutil.which(t)]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs {', '.join(missing) or 'root'}")
    make("image")
    p = Podman(tmp_path_factory.mktemp("podman"))
    image, = glob.glob(os.path.join(harness.OUTPUT, "packages", "*.oci.tar"))
    p.image = p("load", "-q", "-i", image).split()[-1]
    yield p
    p.end()


@pytest.fixture(scope="module")
def port():
    return 18900 + os.getpid() % 90


@pytest.fixture(scope="module")
def app(podman, port, tmp_path_factory):
    """nginx from a root that holds it and nothing else; (name, container id)."""
    root = tmp_path_factory.mktemp("app")
    nginx = shutil.which("nginx")
    listed = subprocess.run([os.path.join(ROOT, "deploy", "libraries"), nginx], capture_output=True, text=True, check=True)
    for path in (nginx, *listed.stdout.split()):
        os.makedirs(f"{root}{os.path.dirname(path)}", exist_ok=True)
        shutil.copy(path, f"{root}{path}")
    for folder in ("etc", "tmp", "srv", "var/log/nginx", "var/lib/nginx", "run"):
        os.makedirs(root / folder, exist_ok=True)
    (root / "etc/passwd").write_text("root:x:0:0::/:\n", encoding="utf-8")
    (root / "etc/group").write_text("root:x:0:\n", encoding="utf-8")
    (root / "etc/nginx.conf").write_text(NGINX % port, encoding="utf-8")
    (root / "srv/index.html").write_text("hello\n", encoding="utf-8")
    tar = subprocess.run(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE, check=True).stdout
    podman("import", "-q", "-", "app:test", input=tar)
    container = podman.run("app", "--network", "host", "--cap-drop", "all", "--cap-add", "DAC_OVERRIDE", "app:test", nginx,
                           "-c", "/etc/nginx.conf")
    harness.wait_for(lambda: asked(port), "nginx")
    return "app", container


def asked(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=harness.PATIENCE_S) as r:
            return r.read()
    except OSError:
        return None


@pytest.fixture
def agent():
    a = agents.FakeAgent()
    yield a
    a.stop()


def assert_confined(podman, name, capabilities):
    """It runs with these and nothing else, behind a filter of its own."""
    with open(f"/proc/{podman.inspect(name, '.State.Pid')}/status", encoding="utf-8") as f:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
    wanted = sum(1 << CAPABILITY_NUMBERS[c] for c in capabilities)
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == wanted, status
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", status


def trace(podman, port, agent, out, name, *words, while_running=lambda: None, kept=NEEDED):
    """Runs spanhound in a container while requests are made; its spans, once it ended well, and what the Agent was told
    their container is."""
    os.makedirs(out, exist_ok=True)
    podman.run(name, "-v", f"{out}:/out", *words, "--export", "json:/out/spans.json", "--export",
               f"datadog:http://127.0.0.1:{agent.port}", "--summary", "json:/out/summary.json")

    def ready():
        assert podman.inspect(name, ".State.Running") == "true", podman.logs(name)
        return "spanhound: ready:" in podman.logs(name)
    harness.wait_for(ready, "spanhound in its container")
    for _ in range(REQUESTS):
        assert asked(port) == b"hello\n"
    assert_confined(podman, name, kept)
    while_running()
    podman("kill", "-s", str(int(signal.SIGTERM)), name)
    assert podman("wait", name).strip() == "0", podman.logs(name)
    with open(f"{out}/summary.json", encoding="utf-8") as f:
        harness.assert_identity(json.load(f))
    spans = harness.read_spans(f"{out}/spans.json")
    harness.assert_well_formed(spans)
    told = [{k.lower(): v for k, v in headers.items()} for path, headers, _, _ in agent.requests if path.endswith("/traces")]
    return spans, {headers.get("datadog-container-id") for headers in told}


def assert_spans(traced, container):
    spans, containers = traced
    served = [s for s in spans if s["name"] == "http.server.request" and s["service"] == "nginx"]
    assert len(served) == REQUESTS, spans
    for s in served:
        assert s["resource"] == "GET /" and s["meta"]["http.status_code"] == "200", s
    assert containers == {container}


def test_for_the_host(podman, app, agent, port, tmp_path):
    """deploy/compose.yaml"""
    spans = trace(podman, port, agent, tmp_path / "out", "host", *of_compose(), podman.image, "attach", "--port", str(port))
    assert_spans(spans, app[1])


def test_for_the_host_as_a_daemon(podman, app, agent, port, tmp_path):
    """deploy/kubernetes/daemonset.yaml, by the configuration file; who else listens on this host is left alone. It can be
    asked from within its container."""
    def asked_how_it_is():
        status = json.loads(podman("exec", "daemon", "/usr/bin/spanhound", "ctl", "status"))
        assert status["healthy"] and status["processes"] == 2, status  # nginx and its worker
    config = tmp_path / "config.yaml"
    config.write_text(f"targets: [{{port: {port}}}]\n", encoding="utf-8")
    spans = trace(podman, port, agent, tmp_path / "out", "daemon", *of_kubernetes("daemonset.yaml"), "--network", "host",
                  "--pid", "host", "-v", f"{config}:/etc/spanhound/config.yaml:ro", podman.image, "serve",
                  while_running=asked_how_it_is)
    assert_spans(spans, app[1])


def test_as_a_sidecar(podman, app, agent, port, tmp_path):
    """deploy/kubernetes/sidecar.yaml: the default configuration, in the application's own PID namespace."""
    spans = trace(podman, port, agent, tmp_path / "out", "sidecar", *of_kubernetes("sidecar.yaml"), "--network",
                  f"container:{app[0]}", "--pid", f"container:{app[0]}", podman.image, "serve")
    assert_spans(spans, app[1])


def test_privileged(podman, app, agent, port, tmp_path):
    """With everything, as well: what is not needed is given up."""
    spans = trace(podman, port, agent, tmp_path / "out", "privileged", "--privileged", "--network", "host", "--pid", "host",
                  podman.image, "attach", "--port", str(port), kept=NEEDED | {"CHECKPOINT_RESTORE"})
    assert_spans(spans, app[1])


@pytest.mark.parametrize("words, said", [
    (("--cap-drop", "all", "--security-opt", "seccomp=unconfined"), "with CAP_BPF and CAP_PERFMON\n"),
    (("--cap-drop", "all", "--cap-add", "BPF,PERFMON,SYS_PTRACE,DAC_READ_SEARCH"), "without the seccomp filter that is on it"),
], ids=("capabilities", "filter"))
def test_without_privilege(podman, words, said, request):
    """What is missing is said, and it ends at once."""
    name = f"bare-{request.node.callspec.id}"
    podman.run(name, *words, podman.image, "attach", "--name", "nobody")
    assert podman("wait", name).strip() == "1"
    assert "CAP_BPF" in podman.logs(name) and said in podman.logs(name), podman.logs(name)
