# SPDX-License-Identifier: Apache-2.0
"""The image and the archive: what is in them, and that spanhound runs from them."""
import glob
import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import tarfile

import harness
import pytest

pytestmark = pytest.mark.slow
IMAGE_MAX_SZ = 30 << 20
GLIBC_MAX = 34  # 2.34, as the README says


@pytest.fixture(scope="module")
def image(make):
    make("image")
    found = glob.glob(os.path.join(harness.OUTPUT, "packages", "*.oci.tar"))
    assert len(found) == 1
    return found[0]


class Oci:
    def __init__(self, path):
        with tarfile.open(path) as tar:
            self.blobs = {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}
        manifest = self.blob(json.loads(self.blobs["index.json"])["manifests"][0])
        self.manifest = json.loads(manifest)
        self.config = json.loads(self.blob(self.manifest["config"]))
        self.layers = [gzip.decompress(self.blob(layer)) for layer in self.manifest["layers"]]

    def blob(self, descriptor):
        data = self.blobs["blobs/" + descriptor["digest"].replace(":", "/")]
        assert hashlib.sha256(data).hexdigest() == descriptor["digest"].split(":")[1]
        return data


def test_image(image):
    oci = Oci(image)
    assert len(oci.layers) == 1 and sum(map(len, oci.layers)) <= IMAGE_MAX_SZ, [len(x) for x in oci.layers]
    assert oci.config["architecture"] == "amd64" and oci.config["os"] == "linux"
    assert oci.config["config"]["Entrypoint"] == ["/usr/bin/spanhound"]
    with tarfile.open(fileobj=io.BytesIO(oci.layers[0])) as layer:
        files = {m.name: m for m in layer}
    assert {"usr/bin/spanhound", "etc/ssl/certs/ca-certificates.crt", "etc/spanhound/config.yaml"} <= set(files)
    programs = [n for n, m in files.items() if m.isfile() and m.mode & 0o111 and ".so" not in n]
    assert programs == ["usr/bin/spanhound"], "nothing else to run: no shell, no tools"
    assert not [n for n, m in files.items() if m.mode & 0o6000 or (m.mode & 0o002 and n != "tmp" and not m.issym())]


def test_archive_runs_from_anywhere(make, tmp_path):
    make("tarball")
    archive, = glob.glob(os.path.join(harness.OUTPUT, "packages", "*.tar.xz"))
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "first", filter="tar")
    os.rename(tmp_path / "first", tmp_path / "second")
    binary = glob.glob(str(tmp_path / "second" / "*" / "bin" / "spanhound"))[0]
    p = subprocess.run([binary, "--version"], capture_output=True, text=True)
    assert p.returncode == 0 and p.stdout.startswith("spanhound "), p.stderr
    # Its libraries are those it brought; of the system's there is the C library.
    listed = subprocess.run([binary], env={"LD_TRACE_LOADED_OBJECTS": "1"}, capture_output=True, text=True).stdout
    paths = [line.split("=>")[1].split()[0] for line in listed.splitlines() if "=> /" in line]
    ours = [p for p in paths if os.path.realpath(p).startswith(str(tmp_path))]
    system = {os.path.basename(p) for p in paths} - {os.path.basename(p) for p in ours}
    assert len(ours) > 10 and system <= {"libc.so.6", "libm.so.6", "libresolv.so.2", "libdl.so.2", "libpthread.so.0"}, system
    symbols = subprocess.run(["objdump", "-T", binary, *ours], capture_output=True, text=True).stdout
    assert max(int(v) for v in re.findall(r"\(?GLIBC_2\.(\d+)", symbols)) <= GLIBC_MAX
    root = os.path.dirname(os.path.dirname(binary))
    for name in ("README.md", "LICENSE", "etc/spanhound/config.yaml", "share/man/man1/spanhound.1", "lib/systemd/system/spanhound.service"):
        assert os.path.exists(os.path.join(root, name)), name
    with open(os.path.join(root, "lib/systemd/system/spanhound.service"), encoding="utf-8") as f:
        unit = f.read()
    assert "\nExecStart=/opt/spanhound/bin/spanhound serve " in unit and "\nExecReload=/bin/kill " in unit, unit
