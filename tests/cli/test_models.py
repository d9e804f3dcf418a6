"""`anypet models` on its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from anypet.cli.models import models
from anypet.errors import WeightsError
from anypet.models import fetch

runner = CliRunner()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANYPET_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "home"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.pth"
    torch.save({"x": torch.ones(1)}, path)
    return path


def test_list() -> None:
    result = runner.invoke(models, ["list"])
    assert result.exit_code == 0
    assert "segany-vit-b" in result.stdout
    entries = json.loads(runner.invoke(models, ["list", "--json"]).stdout)
    assert [e["name"] for e in entries][:2] == ["default", "default-lesion"]


def test_add_then_show(home: Path, file: Path) -> None:
    result = runner.invoke(models, ["add", "mine", str(file), "--family", "segany", "--licence", "CC0"])
    assert result.exit_code == 0, result.output
    shown = runner.invoke(models, ["show", "mine"]).stdout
    assert "CC0" in shown
    assert str(home) in shown
    fields = json.loads(runner.invoke(models, ["show", "mine", "--json"]).stdout)
    assert (fields["family"], fields["ready"], fields["published"]) == ("segany", True, None)


def test_errors_reach_the_command_line(file: Path) -> None:
    assert isinstance(runner.invoke(models, ["show", "nope"]).exception, WeightsError)
    assert isinstance(runner.invoke(models, ["add", "mine", str(file)]).exception, WeightsError)
    assert runner.invoke(models, ["add", "mine", "no-such-file.pth"]).exit_code == 2


def test_fetch_asks_for_the_licence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "fetch", lambda *_, **__: pytest.fail("downloaded without a yes"))
    result = runner.invoke(models, ["fetch", "sam-med3d-turbo"], input="n\n")
    assert result.exit_code == 1
    assert "Apache-2.0" in result.stdout
    assert isinstance(runner.invoke(models, ["fetch", "sam-med3d", "--yes"]).exception, WeightsError)
