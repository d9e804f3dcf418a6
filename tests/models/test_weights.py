"""Weight files: every container, nothing unpickled, faults named."""

from __future__ import annotations

import argparse
import collections
import hashlib
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from anypet.errors import WeightsError
from anypet.models import weights

STATE = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2), "count": torch.tensor(3)}


def same(got: dict[str, torch.Tensor]) -> bool:
    return got.keys() == STATE.keys() and all(torch.equal(got[k], STATE[k]) for k in STATE)


def test_bare_state_dict(tmp_path: Path) -> None:
    torch.save(collections.OrderedDict(STATE), tmp_path / "w.pth")
    assert same(weights.load_state_dict(tmp_path / "w.pth"))


@pytest.mark.parametrize("zipped", [True, False])
def test_training_checkpoint(tmp_path: Path, zipped: bool) -> None:
    checkpoint = {
        "epoch": 3,
        "model_state_dict": STATE,
        "optimizer_state_dict": {"state": {}, "param_groups": [{"lr": 8e-4}]},
        "lr_scheduler_state_dict": {"milestones": collections.Counter([120, 180])},
        "losses": [0.5, np.float64(0.4), np.float32(0.3)],
        "best_loss": np.inf,
        "args": argparse.Namespace(lr=8e-4, device="cuda", img_size=128),
        "used_datas": ["a", "b"],
    }
    torch.save(checkpoint, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    assert same(weights.load_state_dict(tmp_path / "w.pth"))


def test_data_parallel_prefix_is_dropped(tmp_path: Path) -> None:
    torch.save({f"module.{k}": t for k, t in STATE.items()}, tmp_path / "w.pth")
    assert same(weights.load_state_dict(tmp_path / "w.pth"))


def test_a_prefix_on_some_keys_stays(tmp_path: Path) -> None:
    torch.save({"module.a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "w.pth")
    assert set(weights.load_state_dict(tmp_path / "w.pth")) == {"module.a", "b"}


def test_half_precision_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    weights.save_safetensors(STATE, path, {"family": "segany"}, half=True)
    got, metadata = weights.load_weights(path)
    assert same(got)  # these values are exact in float16
    assert got["a.weight"].dtype == torch.float32
    assert got["count"].dtype == torch.int64
    assert metadata == {"family": "segany"}
    full = tmp_path / "full.safetensors"
    weights.save_safetensors(STATE, full)
    assert path.stat().st_size < full.stat().st_size + len("family segany") * 4
    assert list(tmp_path.glob("*.part")) == []


def test_kind_is_told_by_content(tmp_path: Path) -> None:
    weights.save_safetensors(STATE, tmp_path / "w.pth")
    assert same(weights.load_state_dict(tmp_path / "w.pth"))


class Malicious:
    """Runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"echo run > {self.path}",)


@pytest.mark.parametrize("kind", ["torch", "legacy", "pickle"])
def test_a_malicious_file_is_refused_and_not_run(tmp_path: Path, kind: str) -> None:
    path, trace = tmp_path / "w.pth", tmp_path / "trace"
    content = {"model_state_dict": STATE, "args": Malicious(trace)}
    if kind == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "torch")
    with pytest.raises(WeightsError, match=r"could run code|not a whole") as caught:
        weights.load_state_dict(path)
    assert "w.pth" in str(caught.value)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("keep", [0, 5, 100, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, name: str, keep: float) -> None:
    path = tmp_path / name
    state = {"a": torch.randn(64, 64)}
    if name.endswith("pth"):
        torch.save(state, path)
    else:
        weights.save_safetensors(state, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: keep if isinstance(keep, int) else int(keep * len(whole))])
    with pytest.raises(WeightsError, match=name):
        weights.load_state_dict(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no weights file"):
        weights.load_state_dict(tmp_path / "none.pth")
    torch.save({"epoch": 1}, tmp_path / "empty.pth")
    with pytest.raises(WeightsError, match="holds no state dict"):
        weights.load_state_dict(tmp_path / "empty.pth")
    torch.save([torch.ones(1)], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="holds no state dict"):
        weights.load_state_dict(tmp_path / "list.pth")
    (tmp_path / "text.pth").write_text("hello, this is a page that says not found")
    with pytest.raises(WeightsError, match=r"text\.pth"):
        weights.load_state_dict(tmp_path / "text.pth")


def test_checksum(tmp_path: Path) -> None:
    path = tmp_path / "w"
    path.write_bytes(b"weights")
    right = hashlib.sha256(b"weights").hexdigest()
    assert weights.sha256(path) == right
    weights.verify(path, right)
    with pytest.raises(WeightsError, match="damaged or was replaced"):
        weights.verify(path, "0" * 64)


def test_strict_loading_names_the_keys() -> None:
    network = nn.Linear(3, 2)
    with pytest.raises(
        WeightsError, match=r"1 missing: bias; 2 unexpected: x, y; .*weight \(3x2, expected 2x3\)"
    ):
        weights.load_strictly(network, {"weight": torch.ones(3, 2), "x": torch.ones(1), "y": torch.ones(1)})
    weights.load_strictly(network, {"weight": torch.ones(2, 3), "bias": torch.zeros(2)})
    assert network(torch.ones(1, 3)).tolist() == [[3.0, 3.0]]


def test_uninitialised_networks_are_filled_by_loading() -> None:
    with weights.uninitialised():
        network = nn.Sequential(nn.Conv3d(1, 2, 1), nn.Linear(2, 2), nn.Embedding(1, 2))
    state = {key: torch.full_like(tensor, 2.0) for key, tensor in network.state_dict().items()}
    weights.load_strictly(network, state)
    assert all((tensor == 2.0).all() for tensor in network.state_dict().values())
    torch.manual_seed(0)
    assert nn.Linear(2, 2).weight.std() > 0  # outside of it, networks are made as ever


def test_long_lists_of_keys_are_cut() -> None:
    with pytest.raises(WeightsError, match="and 15 more"):
        weights.load_strictly(nn.Linear(3, 2), {f"k{i}": torch.ones(1) for i in range(20)})


@pytest.mark.parametrize(
    ("keys", "family"),
    [
        ({"image_encoder.pos_embed": (1, 8, 8, 8, 768)}, "segany"),
        ({"image_encoder.pos_embed": (1, 64, 64, 768)}, "SAM or MedSAM (2D)"),
        ({"sam_mask_decoder.x": (1,)}, "SAM 2"),
        ({"encoder.stages.0.0.convs.0.conv.weight": (1,)}, "nnU-Net"),
        ({"other": (1,)}, None),
    ],
)
def test_families_are_recognised(keys: dict[str, tuple[int, ...]], family: str | None) -> None:
    state = {key: torch.zeros(shape, device="meta") for key, shape in keys.items()}
    state["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"] = torch.zeros(1)
    assert weights.guess_family(state) == family
    if family is not None:
        with pytest.raises(WeightsError, match="looks like weights of"):
            weights.load_strictly(nn.Linear(3, 2), state, family="linear")
