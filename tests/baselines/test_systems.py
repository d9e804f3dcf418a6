"""Published systems through their own code, on tiny networks with random weights."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from anypet.baselines.registry import BASELINES, baseline
from anypet.errors import AnyPETError, WeightsError
from anypet.volume import Volume

sys.path.append(str(Path(__file__).parents[1] / "lesions"))
from nnunet_toys import need_nnunet, nnunet_folder


def scan() -> tuple[Volume, np.ndarray]:
    truth = np.zeros((24, 20, 16), dtype=bool)
    truth[8:16, 7:14, 6:11] = True
    rng = np.random.default_rng(0)
    suv = 0.5 + 5 * truth + 0.1 * rng.random(truth.shape)
    return Volume(suv.astype(np.float32), np.diag([4.0, 4.0, 4.0, 1.0]), "SUVbw"), truth


@pytest.fixture
def tiny_sam(tmp_path: Path) -> Path:
    pytest.importorskip("tokenizers", reason="transformers is not installed: pip install 'anypet[baselines]'")
    from anypet.baselines.sam import import_transformers

    package = import_transformers()
    torch.manual_seed(0)
    vision = package.SamVisionConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=64, patch_size=16,
        output_channels=16, window_size=2, global_attn_indexes=[1], mlp_dim=64, num_pos_feats=8,
    )  # fmt: skip
    prompts = package.SamPromptEncoderConfig(
        hidden_size=16, image_size=64, patch_size=16, mask_input_channels=4
    )
    masks = package.SamMaskDecoderConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, mlp_dim=32, iou_head_hidden_dim=16
    )
    config = package.SamConfig(
        vision_config=vision.to_dict(),
        prompt_encoder_config=prompts.to_dict(),
        mask_decoder_config=masks.to_dict(),
    )
    package.SamModel(config).save_pretrained(tmp_path / "sam")
    return tmp_path / "sam"


@pytest.mark.parametrize("name", ["sam", "medsam"])
def test_sam_slice_by_slice(name: str, tiny_sam: Path) -> None:
    systems = baseline(name).load(tiny_sam)
    assert [system.name.split(", ")[1] for system in systems] == ["N points", "3N points", "5N points"]
    pet, truth = scan()
    mask = systems[1].told(pet, truth)  # type: ignore[union-attr,misc]
    assert mask.shape == pet.shape
    assert mask.dtype == bool
    assert not mask[:, :, [*range(6), *range(11, 16)]].any()  # slices without the object are not looked at
    with pytest.raises(WeightsError, match="transformers"):
        baseline(name).load(tiny_sam.parent)


def test_nninteractive_through_its_own_session(tmp_path: Path) -> None:
    need_nnunet()
    # its remote client has a package of that name too, whose modules refuse to be imported
    pytest.importorskip(
        "nnInteractive.trainer",
        reason="nnInteractive is not installed: pip install 'anypet[nninteractive]'",
        exc_type=ImportError,
    )
    names = ["image", *(f"interaction {n}" for n in range(7))]
    folder = nnunet_folder(tmp_path / "model", names=names, trainer="nnInteractiveTrainer_stub")
    dataset = (folder / "dataset.json").read_text()
    import json

    described = {**json.loads(dataset), "channel_names": {"0": "image"}}
    (folder / "dataset.json").write_text(json.dumps(described))
    (folder / "inference_info.json").write_text(json.dumps({"point_radius": 4}))
    (system,) = baseline("nninteractive").load(folder)
    pet, _ = scan()
    clicked = system.make(pet)  # type: ignore[union-attr,misc]
    first = clicked.add_point((12, 10, 8))
    second = clicked.add_point((2, 2, 2), positive=False)
    assert first.shape == second.shape == pet.shape
    assert first.dtype == bool
    other = system.make(pet)  # type: ignore[union-attr,misc]
    assert (np.asarray(other.add_point((12, 10, 8))) == first).all()  # objects share nothing but the network
    with pytest.raises(WeightsError, match="nnInteractive"):
        baseline("nninteractive").load(tmp_path)


def test_vista3d_through_monai(tmp_path: Path) -> None:
    pytest.importorskip("monai")
    from monai.networks.nets.vista3d import vista3d132

    from anypet.baselines.vista3d import load_vista3d

    torch.manual_seed(0)
    torch.save(vista3d132(encoder_embed_dim=8).state_dict(), tmp_path / "model.pt")
    (system,) = load_vista3d(tmp_path / "model.pt", "cpu", roi=32, spacing=4.0)
    pet, _ = scan()
    clicked = system.make(pet)  # type: ignore[union-attr,misc]
    first = clicked.add_point((12, 10, 8))
    second = clicked.add_point((13, 9, 8), positive=False)
    assert first.shape == second.shape == pet.shape
    assert first.dtype == bool


def test_nnunet_names_its_organs_without_a_lesion(tmp_path: Path) -> None:
    need_nnunet()
    folder = nnunet_folder(tmp_path / "net", ("PET",), {"background": 0, "liver": 1, "spleen": 2})
    (system,) = baseline("nnunet").load(folder)
    pet, _ = scan()
    masks = system.segment(pet)  # type: ignore[union-attr]
    assert set(masks) == {"liver", "spleen"}
    assert all(np.asarray(m).shape == pet.shape for m in masks.values())


def test_sam_med3d_is_shown_the_ct_and_clicked_on_the_pets_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    from anypet.baselines import own
    from anypet.baselines.run import on_ct
    from anypet.models import registry
    from anypet.models.segany.config import NetworkConfig
    from anypet.models.segany.model import SegAny
    from anypet.models.segany.network import SegAnyNetwork

    torch.manual_seed(0)
    tiny = NetworkConfig(32, dim=48, depth=2, heads=3, global_blocks=(1,), window=7, embed_dim=48)
    model = SegAny(SegAnyNetwork(tiny))
    windows: list[torch.Tensor] = []
    encode = model.encode
    monkeypatch.setattr(model, "encode", lambda image, *rest: windows.append(image) or encode(image, *rest))
    monkeypatch.setattr(registry, "load_model", lambda *_, **__: model)
    described = baseline("sam-med3d-turbo-ct")
    assert described.image == "CT"
    (system,) = own.load_segany(None, "cpu", **described.options)
    assert system.name == "SAM-Med3D-turbo (CT)"
    pet, truth = scan()
    hounsfield = np.where(truth, 60.0, -3000.0).astype(np.float32)
    hounsfield[:, 10:] += 2000
    shown = on_ct(system, pet.with_array(hounsfield, unit="HU"))
    clicked = shown.make(pet)  # type: ignore[union-attr,misc]
    mask = clicked.add_point((12, 10, 8))
    assert mask.shape == pet.shape
    assert mask[12, 10, 8]
    assert float(windows[0].min()) == pytest.approx(-1000)
    assert float(windows[0].max()) == pytest.approx(1000)


def test_a_network_of_ones_own_is_named_after_its_run(tmp_path: Path) -> None:
    from shutil import copy

    from anypet.models.registry import entry

    packaged = entry("default").file
    assert packaged is not None
    (tmp_path / "mine").mkdir()
    (system,) = baseline("compact").load(Path(copy(packaged, tmp_path / "mine" / "weights.safetensors")))
    assert system.name == "AnyPET (mine)"
    with pytest.raises(WeightsError, match="anypet train compact"):
        baseline("compact").load()


def test_what_cannot_run_says_why_and_how(tmp_path: Path) -> None:
    for name in ("segvol", "sat"):
        with pytest.raises(AnyPETError, match="only listed"):
            baseline(name).load()
    with pytest.raises(WeightsError, match="train-baseline segresnet"):
        baseline("segresnet").load()
    with pytest.raises(WeightsError, match="does not exist"):
        baseline("segresnet").load(tmp_path / "none.pt")
    (tmp_path / "turbo.pth").write_bytes(b"x")
    with pytest.raises(WeightsError, match="published is 899a46d0"):
        baseline("sam-med3d-turbo").load(tmp_path / "turbo.pth")
    with pytest.raises(AnyPETError, match="known: default"):
        baseline("unet")
    assert all(each.loader or each.refusal for each in BASELINES.values())
