"""Exports run by OpenVINO: the same masks as torch, tied to their weights, used only where they should be."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from anypet.cli.models import models
from anypet.errors import AnyPETError, WeightsError
from anypet.lesions import network as lesion_network
from anypet.lesions import pieces as lesion_pieces
from anypet.lesions.config import NetConfig
from anypet.lesions.network import TwoHeadedUNet
from anypet.models import registry
from anypet.models.base import Anchor
from anypet.models.compact import CompactConfig, CompactNet
from anypet.models.exported import Graph, Piece, attach, export, folder, runtime
from anypet.models.exported import write as writing
from anypet.models.segany import NetworkConfig, SegAny, SegAnyNetwork
from anypet.models.segany import pieces as segany_pieces
from anypet.models.weights import own_tensors, save_safetensors, sha256
from anypet.prompts import WindowPrompts

pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install 'anypet[fast]'")

CONFIG = CompactConfig(32, (8, 8, 8, 8, 8), (1, 1, 1, 1))
LESIONS = NetConfig(patch=16, widths=(4, 6, 8), blocks=(1, 1, 1))
VIT = NetworkConfig(image_size=64, dim=48, depth=2, heads=3, global_blocks=(1,), window=7, embed_dim=48)
MIDDLE = (16.0, 16.0, 16.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder with small weights of the compact and the lesion family, both exported."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANYPET_HOME", str(home))
        patch.delenv("ANYPET_RUNTIME", raising=False)
        torch.manual_seed(0)
        nets: dict[str, tuple[nn.Module, dict[str, object]]] = {
            "compact": (CompactNet(CONFIG), CONFIG.to_dict()),
            "lesions": (TwoHeadedUNet(LESIONS), LESIONS.to_dict()),
        }
        for family, (net, config) in nets.items():
            file = home / f"{family}.safetensors"
            save_safetensors(own_tensors(net), file, {"config": json.dumps(config), "family": family})
            registry.add(f"tiny-{family}", file)
            assert export(f"tiny-{family}").difference <= 1e-3
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to be damaged at will."""
    monkeypatch.setenv("ANYPET_HOME", str(shutil.copytree(made, tmp_path / "home")))
    monkeypatch.delenv("ANYPET_RUNTIME", raising=False)
    lesion_network.load_net.cache_clear()
    return tmp_path / "home"


def folder_of(name: str) -> Path:
    file = registry.entry(name).file
    assert file is not None
    return folder.exports() / folder.folder_name(sha256(file))


def test_an_export_is_used_and_answers_as_torch_does(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fast = registry.load_model("tiny-compact")
    monkeypatch.setenv("ANYPET_RUNTIME", "torch")
    plain = registry.load_model("tiny-compact")
    assert isinstance(fast.net.encoder, Graph)  # type: ignore[attr-defined]
    assert not isinstance(plain.net.encoder, Graph)  # type: ignore[attr-defined]
    image = torch.rand(1, 1, 32, 32, 32, generator=torch.Generator().manual_seed(1)) * 9
    first = WindowPrompts(np.array([MIDDLE]), np.array([1]))
    more = WindowPrompts(
        np.array([MIDDLE, (3.0, 4, 5)]), np.array([1, 0]), np.array([[[9.0, 9, 9], [20.0, 21, 22]]])
    )
    answers = []
    for model in (fast, plain):
        embedding = model.encode(image, 3.0, Anchor(4.0, MIDDLE))
        one = model.decode(embedding, first)
        answers.append(torch.sigmoid(torch.cat([one, model.decode(embedding, more, one)])))
        assert torch.equal(one, model.decode(embedding, first))  # a later answer leaves an earlier one alone
    assert (answers[0] - answers[1]).abs().max() < 1e-3
    assert not torch.equal(answers[1][0], answers[1][1])


def test_the_lesion_network_answers_as_torch_does_on_tiles_of_any_size(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(folder.BFLOAT16, "lesions", lambda device: False)
    fast = lesion_network.load_net("tiny-lesions")
    assert fast.exported is not None
    x = torch.randn(1, 4, 24, 16, 32, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        found = fast(x, organs=True)
        assert fast(x).organs == []
        assert len(fast(x, deep=True).lesion) == 2  # deep supervision stays torch's
        fast.exported = None
        expected = fast(x, organs=True)
    for a, b in ((found.lesion[0], expected.lesion[0]), (found.organs[0], expected.organs[0])):
        assert a.shape == b.shape
        assert (torch.softmax(a, 1) - torch.softmax(b, 1)).abs().max() < 1e-3


def test_the_vit_answers_as_torch_does_for_any_number_of_clicks(tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain = SegAny(SegAnyNetwork(VIT))
    expected = segany_pieces.probability(plain)
    image = torch.rand(1, 1, 64, 64, 64, generator=torch.Generator().manual_seed(3))
    embedding, nothing = plain.encode(image, 1.5), WindowPrompts()
    without = plain.decode(embedding, nothing, torch.ones(1, 1, 16, 16, 16))
    files = [path for piece in segany_pieces.pieces(plain) for path in piece.save(tmp_path)]
    segany_pieces.put_in(plain, {path.stem: Graph(path) for path in files if path.suffix == ".xml"})
    assert (segany_pieces.probability(plain) - expected).abs().max() < 1e-3
    # the step without clicks is torch's own
    assert torch.equal(plain.decode(embedding, nothing, torch.ones(1, 1, 16, 16, 16)), without)


def test_the_packaged_model_answers_as_torch_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANYPET_RUNTIME", raising=False)
    done = export("default", tmp_path)
    assert done.difference < 1e-3
    assert done.folder.parent == tmp_path


def test_other_devices_and_other_weights_keep_torch(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = registry.load_model("tiny-compact")
    file = registry.entry("tiny-compact").file
    assert file is not None
    model.device = torch.device("meta")  # type: ignore[attr-defined]
    assert not attach("compact", model, file)
    assert not attach("tracer", model, file)
    other = home / "other.safetensors"
    other.write_bytes(file.read_bytes() + b" ")
    model.device = torch.device("cpu")  # type: ignore[attr-defined]
    assert not attach("compact", model, other)
    monkeypatch.setenv("ANYPET_RUNTIME", "openvino")
    with pytest.raises(WeightsError, match="has no export"):
        attach("compact", model, other)


def test_the_runtime_is_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for told, meant in (("", "auto"), ("Torch", "torch"), ("openvino", "openvino")):
        monkeypatch.setenv("ANYPET_RUNTIME", told)
        assert runtime() == meant
    monkeypatch.setattr(folder, "installed", lambda: False)
    with pytest.raises(AnyPETError, match=r"anypet\[fast\]"):
        runtime()
    monkeypatch.setenv("ANYPET_RUNTIME", "abacus")
    with pytest.raises(AnyPETError, match="abacus"):
        runtime()


def test_without_openvino_torch_runs_and_nothing_is_exported(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "installed", lambda: False)
    monkeypatch.setattr(writing, "installed", lambda: False)
    assert not isinstance(registry.load_model("tiny-compact").net.encoder, Graph)  # type: ignore[attr-defined]
    with pytest.raises(AnyPETError, match=r"anypet\[fast\]"):
        export("tiny-compact")


def test_a_damaged_export_is_named_and_never_run(home: Path) -> None:
    where = folder_of("tiny-compact")
    graph = where / "decoder.xml"
    whole = graph.read_bytes()
    graph.write_bytes(whole.replace(b"32", b"16", 1))
    with pytest.raises(WeightsError, match=r"decoder\.xml is damaged or was replaced"):
        registry.load_model("tiny-compact")
    graph.unlink()
    with pytest.raises(WeightsError, match=r"decoder\.xml is missing"):
        registry.load_model("tiny-compact")
    manifest = json.loads((where / folder.MANIFEST).read_text())
    for change, cause in (
        ({"weights": "0" * 64}, "other weights"),
        ({"version": 99}, "version 99"),
        ({"files": None}, "not the manifest"),
    ):
        (where / folder.MANIFEST).write_text(json.dumps({**manifest, **change}))
        with pytest.raises(WeightsError, match=cause):
            registry.load_model("tiny-compact")


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "encoder.xml").write_text("<net>")
    (tmp_path / "encoder.bin").write_bytes(b"")
    with pytest.raises(WeightsError, match="cannot read it"):
        Graph(tmp_path / "encoder.xml")


def test_an_export_that_differs_leaves_nothing_behind(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = folder_of("tiny-compact")
    before = (where / folder.MANIFEST).stat().st_mtime_ns

    class Off(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    answers = iter((torch.zeros(3), torch.full((3,), 0.01)))

    class Shifted:
        @staticmethod
        def pieces(model: object) -> list[Piece]:
            return [Piece("network", Off().eval(), (torch.zeros(1, 2),), ((1, 2),))]

        @staticmethod
        def put_in(model: object, graphs: object) -> None: ...

        build = staticmethod(lambda *_: nn.Identity())
        probability = staticmethod(lambda _: next(answers))

    monkeypatch.setattr(writing.importlib, "import_module", lambda _: Shifted)
    with pytest.raises(WeightsError, match=r"differ from torch's by 0\.01"):
        export("tiny-compact")
    assert (where / folder.MANIFEST).stat().st_mtime_ns == before
    assert not list(where.parent.glob(".*"))


def test_a_folder_that_cannot_be_written_is_named(home: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(AnyPETError, match="taken"):
        export("tiny-compact", tmp_path / "taken")


def test_only_networks_that_are_slow_are_exported(home: Path) -> None:
    with pytest.raises(WeightsError, match="family tracer"):
        export("tracer")


def test_the_command_line_exports_again(home: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(models, ["export", "tiny-compact", "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    (where,) = (tmp_path / "out").iterdir()
    assert where.name in result.stdout
    assert {p.name for p in where.iterdir()} == {
        "encoder.xml", "encoder.bin", "decoder.xml", "decoder.bin", folder.MANIFEST,
    }  # fmt: skip


def test_openvino_is_kept_from_reporting_home() -> None:
    """Its telemetry is replaced by its own stub, whose methods do nothing."""
    program = (
        "from anypet.models.exported.graph import openvino; openvino();"
        "import openvino.tools.ovc as t; print(type(t.telemetry).__module__)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "openvino.tools.ovc.telemetry_stub"


def test_the_lesion_pieces_check_both_heads() -> None:
    torch.manual_seed(0)
    values = lesion_pieces.probability(TwoHeadedUNet(LESIONS).eval())
    assert values.shape == (1, 2 + 1 + len(LESIONS.organs), 16, 16, 16)
    assert torch.allclose(values[:, :2].sum(1), torch.ones(1, 16, 16, 16))
