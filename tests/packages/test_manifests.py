# SPDX-License-Identifier: Apache-2.0
"""What is in deploy/: right by the schemas of those who read it, and asking for no more privilege than was found to be needed."""
import glob
import json
import os
import re
import shutil
import subprocess

import jsonschema
import kubernetes_validate
import pytest
import yaml

from conftest import ROOT

DEPLOY = os.path.join(ROOT, "deploy")
UNIT = os.path.join(DEPLOY, "systemd", "spanhound.service")
KUBERNETES = sorted(glob.glob(os.path.join(DEPLOY, "kubernetes", "*.yaml")))
# appArmorProfile came with 1.30; the newest that the validator knows, too.
KUBERNETES_VERSIONS = ("1.30", "1.37")
COMPOSE_MODULE = "github.com/compose-spec/compose-go/v2@v2.4.7"
NEEDED = {"BPF", "PERFMON", "SYS_PTRACE", "DAC_READ_SEARCH"}
# What systemd-analyze security may say at most, of 10: root, capabilities and /proc are what the unit is for.
EXPOSURE_MAX = 3.0


def documents(path):
    with open(path, encoding="utf-8") as f:
        return list(yaml.safe_load_all(f))


def tracer(path):
    """(pod, container) of spanhound."""
    for d in documents(path):
        pod = d.get("spec", {}).get("template", {}).get("spec") if d["kind"] == "DaemonSet" else d.get("spec")
        for c in (pod or {}).get("containers", ()):
            if c["name"] == "spanhound":
                return pod, c
    raise AssertionError(f"no spanhound in {path}")


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
@pytest.mark.parametrize("path", KUBERNETES, ids=os.path.basename)
def test_kubernetes_schema(path, version):
    for d in documents(path):
        kubernetes_validate.validate(d, version, strict=True)


def test_kubernetes_schema_refuses():
    """The validator does look."""
    d = documents(KUBERNETES[0])[-1]
    d["spec"]["template"]["spec"]["hostPid"] = True
    with pytest.raises(Exception, match="hostPid"):
        kubernetes_validate.validate(d, KUBERNETES_VERSIONS[-1], strict=True)


@pytest.mark.parametrize("path", KUBERNETES, ids=os.path.basename)
def test_kubernetes_privilege(path):
    pod, container = tracer(path)
    context = container["securityContext"]
    assert set(context["capabilities"]["add"]) == NEEDED and context["capabilities"]["drop"] == ["ALL"]
    assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"] and "privileged" not in context
    assert pod["automountServiceAccountToken"] is False
    assert bool(pod.get("hostPID")) != bool(pod.get("shareProcessNamespace")) and not pod.get("hostNetwork")
    mounted = {m["name"] for m in container["volumeMounts"]}
    for volume in pod["volumes"]:
        assert volume["name"] in mounted
        mount = next(m for m in container["volumeMounts"] if m["name"] == volume["name"])
        assert "hostPath" not in volume or mount["readOnly"], volume


def test_kubernetes_configuration(binary, tmp_path):
    config = next(d for d in documents(os.path.join(DEPLOY, "kubernetes", "daemonset.yaml")) if d["kind"] == "ConfigMap")
    path = tmp_path / "config.yaml"
    path.write_text(config["data"]["config.yaml"], encoding="utf-8")
    p = subprocess.run([binary, "check", str(path)], capture_output=True, text=True)
    assert p.returncode == 0, p.stderr


def compose_schema():
    """Of the Compose project's Go module, as the module proxy has it."""
    if not shutil.which("go"):
        pytest.skip("needs Go, for the Compose schema")
    p = subprocess.run(["go", "mod", "download", "-json", COMPOSE_MODULE], capture_output=True, text=True, cwd="/",
                       env=dict(os.environ, GOFLAGS="-mod=mod"))
    if p.returncode != 0:
        pytest.skip("the Compose schema cannot be fetched here")
    with open(os.path.join(json.loads(p.stdout)["Dir"], "schema", "compose-spec.json"), encoding="utf-8") as f:
        return json.load(f)


def test_compose():
    compose, = documents(os.path.join(DEPLOY, "compose.yaml"))
    service = compose["services"]["spanhound"]
    assert set(service["cap_add"]) == NEEDED and service["cap_drop"] == ["ALL"]
    assert service["read_only"] and "privileged" not in service and "no-new-privileges:true" in service["security_opt"]
    schema = compose_schema()
    jsonschema.validate(compose, schema)
    service["cap_ad"] = ["BPF"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(compose, schema)


def unit_lines(key):
    with open(UNIT, encoding="utf-8") as f:
        return re.findall(rf"^{key}=(.*)$", f.read(), re.M)


needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")


@needs_systemd
def test_unit_verifies(installed, tmp_path):
    """As installed, with the binary where it says."""
    source = os.path.join(installed, "usr/local/lib/systemd/system/spanhound.service")
    with open(source, encoding="utf-8") as f:
        text = f.read()
    assert "ExecStart=/usr/local/bin/spanhound serve " in text
    unit = tmp_path / "spanhound.service"
    unit.write_text(text.replace("/usr/local/bin/", f"{installed}/usr/local/bin/"), encoding="utf-8")
    p = subprocess.run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(unit)], capture_output=True, text=True)
    assert p.returncode == 0 and "spanhound.service" not in p.stderr, p.stderr


@needs_systemd
def test_unit_exposure():
    p = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={int(EXPOSURE_MAX * 10)}",
                        UNIT], capture_output=True, text=True)
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", p.stdout)
    assert exposure and float(exposure.group(1)) <= EXPOSURE_MAX and p.returncode == 0, p.stdout[-3000:] + p.stderr
    assert set(unit_lines("CapabilityBoundingSet")[0].split()) == {f"CAP_{c}" for c in NEEDED}


def system_calls(words, have):
    """What a SystemCallFilter= line names, its @groups unfolded."""
    for word in words:
        if not word.startswith("@"):
            have.add(word)
            continue
        listed = subprocess.run(["systemd-analyze", "syscall-filter", word], capture_output=True, text=True, check=True).stdout
        system_calls([line.strip() for line in listed.splitlines()[1:] if line.startswith(" ") and "#" not in line], have)
    return have


@needs_systemd
@pytest.mark.skipif(not shutil.which("strace") or os.geteuid() != 0, reason="needs strace, and root")
def test_unit_allows_what_is_called(binary, tmp_path):
    """Every system call of a daemon's life, from start to SIGTERM, passes the unit's filter, and every one that its own
    filter lets through later."""
    allowed = set()
    for line in unit_lines("SystemCallFilter"):
        if line.startswith("~"):
            allowed -= system_calls(line[1:].split(), set())
        else:
            system_calls(line.split(), allowed)
    with open(os.path.join(ROOT, "userspace", "base", "confine_syscalls.def"), encoding="utf-8") as f:
        own = set(re.findall(r"^SYSCALL\((\w+)\)", f.read(), re.M))
    assert len(own) > 100 and own <= allowed, f"not allowed: {sorted(own - allowed)}"
    assert {"bpf", "perf_event_open", "openat"} <= allowed and "mount" not in allowed and "ptrace" not in allowed
    config = tmp_path / "config.yaml"
    config.write_text(f"targets: [{{exe: {tmp_path}/nobody}}]\nexport: \"json:{tmp_path}/spans.json\"\n", encoding="utf-8")
    log = tmp_path / "calls"
    p = subprocess.run(["strace", "-f", "-o", str(log), "-e", "trace=all", "-e", "signal=none", binary, "serve", "-c",
                        str(config), "--duration", "1s"], capture_output=True, text=True, timeout=100)
    assert p.returncode == 0, p.stderr
    called = set(re.findall(r"^\d+ +(\w+)\(", log.read_text(encoding="utf-8", errors="replace"), re.M))
    # strace itself starts the program; the test of return probes under a filter lets a child filter itself.
    assert "bpf" in called
    assert called <= allowed, f"not allowed: {sorted(called - allowed)}"
