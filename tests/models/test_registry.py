"""The registry: names, the user's own weights, checksums."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from anypet.errors import WeightsError
from anypet.models import registry, weights

SEGANY = {
    "image_encoder.pos_embed": torch.zeros(1, 2, 2, 2, 3),
    "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": torch.zeros(3, 1),
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("ANYPET_HOME", str(folder))
    return folder


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, torch.Tensor], dict[str, str], Any]]:
    """Stands in for every family; collects what `build` was given."""
    calls: list[Any] = []

    def build(*given: Any) -> str:
        calls.append(given)
        return "model"

    monkeypatch.setattr(registry.importlib, "import_module", lambda name: SimpleNamespace(build=build))
    return calls


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.pth"
    torch.save({"model_state_dict": SEGANY}, path)
    return path


def test_importing_it_does_not_import_torch() -> None:
    code = "import sys, anypet.models.registry as r; r.available(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_known_models() -> None:
    entries = {e.name: e for e in registry.available()}
    assert {"default", "segany-vit-b", "sam-med3d", "sam-med3d-turbo"} <= set(entries)
    assert entries["default"].family == "compact"
    assert all(e.family in registry.FAMILIES for e in entries.values())
    assert not entries["segany-vit-b"].ready


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(WeightsError, match=r"'nope'.*default.*segany-vit-b"):
        registry.load_model("nope")


def test_without_weights_it_says_how_to_get_them() -> None:
    with pytest.raises(WeightsError, match="models fetch segany-vit-b` or `anypet models add segany-vit-b"):
        registry.load_model("segany-vit-b")
    with pytest.raises(WeightsError) as caught:
        registry.load_model("sam-med3d")
    assert "fetch" not in str(caught.value)


def test_add_then_load(home: Path, file: Path, built: list[Any]) -> None:
    entry = registry.add("segany-vit-b", file, licence="mine")
    assert entry.ready
    assert entry.file == home / "weights" / "segany-vit-b" / "mine.pth"
    assert (entry.licence, entry.source, entry.sha256) == ("mine", "mine.pth", weights.sha256(file))
    file.unlink()  # the user's folder has its own copy
    assert registry.load_model("segany-vit-b", device="cpu") == "model"
    state, metadata, device = built[0]
    assert state.keys() == SEGANY.keys()
    assert metadata == {"name": "segany-vit-b"}
    assert device == "cpu"
    assert [p for p in home.rglob("*") if ".part" in p.name] == []


def test_add_under_a_new_name_tells_the_family(file: Path) -> None:
    registry.add("my-model.v2", file)
    entry = registry.available()[-1]
    assert (entry.name, entry.family, entry.published) == ("my-model.v2", "segany", None)


def test_family_of_safetensors_metadata(tmp_path: Path) -> None:
    weights.save_safetensors({"x": torch.ones(1)}, tmp_path / "w.safetensors", {"family": "compact"})
    assert registry.add("tuned", tmp_path / "w.safetensors").family == "compact"


def test_what_cannot_be_added(tmp_path: Path, file: Path) -> None:
    with pytest.raises(WeightsError, match="packaged"):
        registry.add("default", file)
    for name in ("../up", "Capital", "", "a/b", "."):
        with pytest.raises(WeightsError, match="no usable name"):
            registry.add(name, file)
    with pytest.raises(WeightsError, match=r"choose another name|give one of"):
        registry.add("segany-vit-b", file, family="segany2")
    with pytest.raises(WeightsError, match="choose another name"):
        registry.add("segany-vit-b", file, family="compact")
    torch.save({"x": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="not clear"):
        registry.add("other", tmp_path / "other.pth")
    assert len(registry.available()) == len(registry._KNOWN)


def test_weights_argument_wins(tmp_path: Path, built: list[Any]) -> None:
    weights.save_safetensors({"x": torch.ones(1)}, tmp_path / "w.safetensors", {"widths": "1,2"})
    registry.load_model("default", weights=tmp_path / "w.safetensors")
    assert built[0][1] == {"widths": "1,2", "name": "default"}


def test_changed_weights_are_refused(home: Path, file: Path, built: list[Any]) -> None:
    entry = registry.add("segany-vit-b", file)
    assert entry.file is not None
    entry.file.write_bytes(entry.file.read_bytes() + b"x")
    with pytest.raises(WeightsError, match="damaged or was replaced"):
        registry.load_model("segany-vit-b")
    entry.file.unlink()
    with pytest.raises(WeightsError, match="add them again"):
        registry.load_model("segany-vit-b")
    assert built == []


def test_a_damaged_index_is_named(home: Path) -> None:
    home.mkdir()
    for text in ("{", "[]", '{"weights": {"a": {}}}'):
        (home / "models.json").write_text(text)
        with pytest.raises(WeightsError, match="not a model index"):
            registry.available()


def test_weights_of_another_network_are_named(tmp_path: Path) -> None:
    torch.save({"encoder.stages.0": torch.ones(1)}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"w\.pth.*do not fit segany.*looks like weights of nnU-Net"):
        registry.load_model("segany-vit-b", weights=tmp_path / "w.pth")


def test_packaged_weights_are_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, built: list[Any]
) -> None:
    monkeypatch.setattr(registry, "PACKAGED", tmp_path)
    with pytest.raises(WeightsError, match="packaged weights are missing"):
        registry.load_model()
    packaged = tmp_path / "default.safetensors"
    weights.save_safetensors({"x": torch.ones(1)}, packaged)
    with pytest.raises(WeightsError, match="damaged"):  # no checksum file
        registry.load_model()
    sums = tmp_path / "checksums.json"
    sums.write_text(json.dumps({"default.safetensors": weights.sha256(packaged)}))
    assert registry.load_model() == "model"
    sums.write_text(json.dumps({"default.safetensors": "0" * 64}))
    with pytest.raises(WeightsError, match="damaged"):
        registry.load_model()


def test_home_follows_the_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ANYPET_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", "")
    monkeypatch.setattr(registry.sys, "platform", "linux")
    assert registry.home() == tmp_path / ".local" / "share" / "anypet"
    monkeypatch.setattr(registry.sys, "platform", "darwin")
    assert registry.home() == tmp_path / "Library" / "Application Support" / "anypet"
    monkeypatch.setattr(registry.sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert registry.home() == tmp_path / "local" / "anypet"


def test_entries_as_json(home: Path, file: Path) -> None:
    registry.add("segany-vit-b", file)
    fields = json.loads(json.dumps(registry.as_json(registry.entry("segany-vit-b"))))
    assert fields["ready"] is True
    assert fields["published"]["repo"] == "YichiZhang98/SegAnyPET"
