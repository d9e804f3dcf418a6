"""The tools of a release: the audit's verdict, what a wheel has to hold, and the image's pins."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from guide_blocks import ROOT


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FAULT: dict[str, Any] = {
    "name": "a", "version": "1", "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2"]}],
}  # fmt: skip


def answering(audit: ModuleType, monkeypatch: pytest.MonkeyPatch, out: str, err: str = "") -> int:
    done = SimpleNamespace(stdout=out, stderr=err)
    monkeypatch.setattr(subprocess, "run", lambda *words, **how: done)
    return int(audit.main())


def test_a_vulnerability_fails_unless_it_is_explained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    audit = tool("audit")
    told = json.dumps({"dependencies": [FAULT, {"name": "b", "version": "1", "vulns": []}]})
    assert answering(audit, monkeypatch, told) == 1
    assert "a 1: PYSEC-1: VULNERABLE, mended in 2" in capsys.readouterr().out
    audit.EXPLAINED["CVE-1"] = "not on our path"
    assert answering(audit, monkeypatch, told) == 0
    assert "PYSEC-1: not on our path" in capsys.readouterr().out


def test_what_was_not_audited_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    audit = tool("audit")
    told = json.dumps({"dependencies": [{"name": "a", "skip_reason": "not found"}]})
    assert answering(audit, monkeypatch, told) == 0
    printed = capsys.readouterr().out
    assert "0 packages audited" in printed
    assert "NOT AUDITED" in printed
    assert answering(audit, monkeypatch, "", "Traceback\nConnectionError: no way") == 0
    assert "could not ask: ConnectionError: no way" in capsys.readouterr().out


def test_a_wheel_without_its_weights_is_not_whole(tmp_path: Path) -> None:
    wheel = tool("wheel")
    path = tmp_path / "a.whl"
    source = ROOT / "src"
    files = [f for f in source.rglob("*") if f.is_file() and "__pycache__" not in f.parts]
    with zipfile.ZipFile(path, "w") as archive:
        for file in files:
            if file.name != "default.safetensors":
                archive.writestr(file.relative_to(source).as_posix(), "")
    assert wheel.missing(path) == ["anypet/weights/default.safetensors"]


def test_the_image_has_the_torch_that_is_tested() -> None:
    pins = [
        line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch==")
    ]
    assert f"ARG TORCH={pins[0].removeprefix('torch==')}\n" in (ROOT / "Dockerfile").read_text()
