"""The package's surface: quick to import, complete, typed."""

from __future__ import annotations

import subprocess
import sys
from importlib import resources

import pytest

import anypet
from anypet.models.registry import available
from anypet.models.weights import sha256


def test_importing_does_not_import_torch():
    code = (
        "import sys, anypet, anypet.cli.app\n"
        "heavy = {'torch', 'matplotlib', 'scipy'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_there():
    for name in anypet.__all__:
        assert getattr(anypet, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = anypet.nonsense


def test_package_holds_types_settings_and_weights():
    home = resources.files("anypet")
    for part in (
        "py.typed",
        "training/configs/compact.yaml",
        "splits/sts.json",
        "report/report.html.j2",
        "weights/default.safetensors",
        "weights/default.md",
        "weights/default-lesion.md",
        "weights/lesions.md",
        "weights/tracer.md",
    ):
        assert (home / part).is_file(), part
    packaged = [entry for entry in available() if entry.packaged]
    assert [entry.name for entry in packaged] == ["default", "default-lesion", "lesions", "tracer"]
    for entry in packaged:
        assert entry.ready
        assert entry.sha256 == sha256(entry.file)


def test_command_line_lists_its_commands():
    done = subprocess.run(
        [sys.executable, "-m", "anypet", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    for name in (
        "segment",
        "measure",
        "response",
        "report",
        "info",
        "convert",
        "export",
        "lesions",
        "autopet",
        "network",
        "compare",
        "simulate",
        "train",
        "evaluate",
        "models",
        "data",
        "demo",
    ):
        assert name in done.stdout
    version = subprocess.run(
        [sys.executable, "-m", "anypet", "--version"], capture_output=True, text=True, check=False
    )
    assert version.stdout.strip() == anypet.__version__


def test_errors_are_one_line_and_exit_code_2(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "anypet", "info", str(tmp_path / "absent.nii.gz")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "absent.nii.gz" in done.stderr
    assert "Traceback" not in done.stderr
