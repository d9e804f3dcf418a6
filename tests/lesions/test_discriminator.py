import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from anypet.errors import AnyPETError, WeightsError
from anypet.lesions.discriminator import (
    SIDE,
    MipCNN,
    TracerGuess,
    coronal_mip,
    guess_tracer,
    load_discriminator,
    picture,
)
from anypet.volume import Volume


def man(spacing=4.0, height=900.0) -> Volume:
    """A box of SUV 1 with a hot cube to the patient's right (high R), in front (high A) and low (low S)."""
    shape = (80, 50, int(height / spacing))
    array = np.zeros(shape, np.float32)
    array[10:70, 10:40] = 1.0
    array[55:60, 35:39, 20:25] = 9.0
    return Volume(array, np.diag([spacing] * 3 + [1.0]), "SUVbw")


def test_layers_are_those_of_the_paper():
    """Spatial sizes 112, 55, 27, 13, 6 after the strided convolutions, then 1."""
    net, x, sizes = MipCNN(), torch.zeros(1, 1, 224, 224), []
    for layer in net.layers:
        x = layer(x)
        if isinstance(layer, torch.nn.Conv2d):
            sizes.append((x.shape[1], x.shape[2]))
    assert sizes == [(8, 112), (16, 55), (32, 27), (64, 13), (128, 6), (256, 1)]
    linear = [layer.out_features for layer in net.layers if isinstance(layer, torch.nn.Linear)]
    assert linear == [128, 64, 16, 4, 1]


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, -1, 1)])
def test_the_projection_is_seen_from_the_front_however_it_is_stored(axes, flips):
    pet = man()
    array = pet.array.transpose(axes)[tuple(slice(None, None, f) for f in flips)]
    affine = np.eye(4)
    affine[:3, :3] = np.diag([4.0] * 3)[:, axes] * np.array(flips)
    ends = np.where(np.array(flips) < 0, np.array(array.shape) - 1, 0)
    affine[:3, 3] = -affine[:3, :3] @ ends
    mip = coronal_mip(Volume(array, affine, "SUVbw"))
    np.testing.assert_allclose(mip, pet.array.max(1), atol=1e-3)


def test_a_picture_holds_all_of_a_body_in_its_middle():
    image = picture(man().array.max(1), (4.0, 4.0))
    assert image.shape == (1, SIDE, SIDE)
    rows, columns = np.nonzero(image[0].numpy() > 0.5)
    assert abs(rows.mean() - SIDE / 2) < 2
    assert abs(columns.mean() - SIDE / 2) < 2
    assert np.ptp(columns) + 1 == pytest.approx(900 / 4.5, abs=1)
    assert float(image.max()) == pytest.approx(np.arcsinh(9.0), abs=0.3)
    assert picture(np.ones((400, 500), np.float32), (4.0, 4.0)).shape == (1, SIDE, SIDE)


@pytest.mark.parametrize(("psma", "tracer"), [(0.01, "FDG"), (0.5, ""), (0.99, "PSMA")])
def test_in_the_middle_it_is_not_sure(psma, tracer):
    guess = TracerGuess(psma, 900.0)
    assert guess.tracer == tracer
    assert ("unsure" in str(guess)) is (tracer == "")


def test_a_crop_of_the_body_is_called_one():
    torch.manual_seed(0)
    net = MipCNN().eval()
    whole, crop = guess_tracer(man(), net), guess_tracer(man(height=160.0), net)
    assert 0 <= whole.psma <= 1
    assert whole.seen_mm == pytest.approx(900, abs=8)
    assert not whole.is_crop
    assert crop.is_crop
    assert "only 160 mm" in str(crop)
    empty = man()
    empty.array[:] = 0
    assert guess_tracer(empty, net).seen_mm == 0


def test_bad_input(tmp_path):
    with pytest.raises(AnyPETError, match="Bq/mL"):
        guess_tracer(Volume(np.ones((2, 2, 2)), np.eye(4), "Bq/mL"), MipCNN())
    save_file({"layer": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="tracer discriminator"):
        load_discriminator(tmp_path / "w.safetensors")
