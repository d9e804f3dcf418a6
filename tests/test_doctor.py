"""What `anypet doctor` finds: in a whole installation, and in ones that are broken in one place each."""

from __future__ import annotations

import hashlib
import importlib
import json
import shutil
import socket
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import anypet
from anypet import doctor
from anypet.cli.doctor import doctor as command
from anypet.doctor import Finding, examine, healthy
from anypet.models import registry

app = typer.Typer()
app.command()(command)
runner = CliRunner()


def installed(folder: Path, *lines: str, version: str = anypet.__version__) -> Path:
    """Metadata of an installed AnyPET, as pip leaves it."""
    place = folder / f"anypet-{version}.dist-info"
    place.mkdir(parents=True)
    text = ["Metadata-Version: 2.1", "Name: anypet", f"Version: {version}", *lines]
    (place / "METADATA").write_text("\n".join(text) + "\n")
    return folder


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYPET_HOME", str(tmp_path / "home"))


@pytest.fixture
def requires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets what the installed package says that it needs."""

    def put(*lines: str, **more: str) -> None:
        monkeypatch.syspath_prepend(str(installed(tmp_path / "site", *lines, **more)))
        importlib.invalidate_caches()

    return put


def of(subject: str, findings: list[Finding]) -> Finding:
    [found] = [f for f in findings if f.subject == subject]
    return found


def test_a_whole_installation(requires: Any) -> None:
    requires("Requires-Python: >=3.11", "Requires-Dist: numpy>=1.26", "Requires-Dist: scipy")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    findings = examine(port)
    assert healthy(findings)
    assert of("libraries", findings).found.startswith("all 2 of them")
    for name in ("default", "default-lesion", "lesions", "tracer"):
        assert of(f"weights {name}", findings).state == "ok"
    for subject in ("anypet", "python", "torch", "device cpu", "page of serve", f"port {port}"):
        assert of(subject, findings).state == "ok", subject
    assert "segany-vit-b" in of("other weights", findings).found
    assert all(f.fix for f in findings if f.state == "fault")


def test_what_pyproject_asks_for_is_read_back(requires: Any) -> None:
    """The extras that the doctor names are those that pip knows, and nothing of the developers'."""
    with (Path(__file__).parents[1] / "pyproject.toml").open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    lines = ["Requires-Python: >=3.11"]
    for extra, wanted in extras.items():
        lines.append(f"Provides-Extra: {extra}")
        for one in wanted:
            name, _, marker = one.partition(";")
            condition = f'({marker.strip()}) and extra == "{extra}"' if marker else f'extra == "{extra}"'
            lines.append(f"Requires-Dist: {name.strip()}; {condition}")
    requires(*lines)
    subjects = {f.subject.removeprefix("extra ") for f in examine() if f.subject.startswith("extra ")}
    assert subjects == set(extras) - set(doctor.DEVELOPERS)


def test_missing_and_old_libraries(requires: Any) -> None:
    requires(
        "Requires-Python: >=3.11",
        "Requires-Dist: no-such-library>=2",
        "Requires-Dist: numpy>=999",
        "Provides-Extra: serve",
        "Provides-Extra: pacs",
        'Requires-Dist: anypet[pacs]; extra == "serve"',
        'Requires-Dist: not-there-either; extra == "pacs"',
    )
    findings = examine()
    assert not healthy(findings)
    assert of("no-such-library", findings).fix == "pip install 'no-such-library>=2'"
    assert "needed is >=999" in of("numpy", findings).found
    for extra in ("serve", "pacs"):  # serve asks for pacs, so it lacks the same
        found = of(f"extra {extra}", findings)
        assert (found.state, found.found) == ("note", "not-there-either is not installed")
        assert found.fix == f"pip install 'anypet[{extra}]'"


def test_another_python_and_another_version(requires: Any) -> None:
    requires("Requires-Python: <3", version="0.0.1")
    findings = examine()
    assert of("python", findings).state == "fault"
    assert "0.0.1" in of("anypet", findings).found


def test_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise doctor.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "distribution", absent)
    assert of("anypet", examine()).state == "fault"


def test_torch_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise OSError("libcudart.so.12: cannot open shared object file")

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    found = of("torch", examine())
    assert found.state == "fault"
    assert "libcudart" in found.found


@pytest.mark.parametrize("bfloat16", [True, False])
def test_gpus(bfloat16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    card = SimpleNamespace(name="Card", total_memory=80 * 2**30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: card)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bfloat16)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    findings = examine()
    assert "Card, 80 GiB" in of("device cuda:1", findings).found
    assert ("bfloat16" in of("device cuda:0", findings).found) == bfloat16
    assert of("device mps", findings).state == "ok"


def test_gpus_that_torch_does_not_see(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert "built without CUDA" in of("device cuda", examine()).found
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert "sees no GPU" in of("device cuda", examine()).found


def test_damaged_and_missing_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    for name in ("checksums.json", "tracer.safetensors", "default.safetensors"):
        shutil.copy(registry.PACKAGED / name, folder)
    with (folder / "tracer.safetensors").open("r+b") as file:
        file.seek(5000)
        file.write(b"x")
    monkeypatch.setattr(registry, "PACKAGED", folder)
    findings = examine()
    assert of("weights default", findings).state == "ok"
    assert "damaged" in of("weights tracer", findings).found
    assert of("weights lesions", findings).found == "the file is missing"
    assert not healthy(findings)


def test_weights_of_the_user(tmp_path: Path) -> None:
    home = registry.home()
    file = home / "weights" / "mine" / "mine.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")
    record = {"family": "compact", "file": "weights/mine/mine.safetensors", "licence": "", "source": ""}
    record["sha256"] = hashlib.sha256(b"weights").hexdigest()
    (home / "models.json").write_text(json.dumps({"version": 1, "weights": {"mine": record}}))
    assert of("weights mine", examine()).state == "ok"
    file.unlink()
    assert of("weights mine", examine()).state == "fault"
    (home / "models.json").write_text("{")
    assert of("weights", examine()).state == "fault"


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("ANYPET_HOME", str(file / "below"))
    found = of("folder of weights and sessions", examine())
    assert found.state == "fault"
    assert "ANYPET_HOME" in found.fix


def test_little_space_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LEAST_DISK_GIB", 1e9)
    monkeypatch.setattr(doctor, "LEAST_MEMORY_GIB", 1e9)
    findings = examine()
    assert of("temporary folder", findings).state == "note"
    assert of("memory", findings).state == "note"
    monkeypatch.delattr(doctor.os, "sysconf")
    assert "does not say" in of("memory", examine()).found


def test_a_taken_port() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        found = of(f"port {taken.getsockname()[1]}", examine(taken.getsockname()[1]))
    assert found.state == "note"
    assert "--port 0" in found.fix


def test_the_page_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "STATIC", tmp_path)
    assert "index.html" in of("page of serve", examine()).found


def test_the_command(requires: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    requires("Requires-Python: >=3.11", "Requires-Dist: numpy")
    result = runner.invoke(app, [])
    assert result.exit_code == 0, result.output
    assert "Nothing that is needed is missing" in result.stdout
    told = json.loads(runner.invoke(app, ["--json", "--port", "8123"]).stdout)
    assert told["healthy"]
    assert told["version"] == anypet.__version__
    assert "port 8123" in [f["subject"] for f in told["findings"]]


def test_the_command_fails_where_something_is_broken(requires: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    requires("Requires-Python: >=3.11", "Requires-Dist: no-such-library[some]>=2")
    result = runner.invoke(app, [])
    assert result.exit_code == 1
    assert "pip install 'no-such-library>=2'" in result.stdout
    assert "To mend: 1" in result.stdout
    assert not json.loads(runner.invoke(app, ["--json"]).stdout)["healthy"]


def test_it_needs_no_torch_to_be_imported() -> None:
    import subprocess

    code = "import sys, anypet.doctor; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
