import numpy as np
import pytest
from lesion_fakes import scan
from scipy.ndimage import gaussian_filter

from anypet.errors import AnyPETError
from anypet.lesions.click_files import LesionClicks
from anypet.lesions.nnunet.channels import BASELINE, OURS, QUANTIF, Channels, channels_of
from anypet.volume import Volume

PET = scan()
CT = Volume(np.full(PET.shape, 40, np.float32), PET.affine, "HU")
CLICKS = LesionClicks(((28, 22, 40), (12, 20, 15)), ((20, 20, 30), (23, 20, 30)))


def described(*names, **more):
    return {"channel_names": {str(n): name for n, name in enumerate(names)}, **more}


@pytest.mark.parametrize(
    ("names", "roles", "style"),
    [
        (("CT", "PET", "FG", "BG"), ("ct", "pet", "tumour", "background"), BASELINE),  # autoPET IV's baseline
        (("CT", "PET", "Heatmap"), ("ct", "pet", "clicks"), QUANTIF),
        (("SUV", "CTres"), ("pet", "ct"), BASELINE),
        (("non-tumor clicks", "tumor clicks", "PET"), ("background", "tumour", "pet"), BASELINE),
    ],
)
def test_names_that_tell(names, roles, style):
    found = channels_of(described(*names), "here")
    assert (found.roles, found.style, found.note) == (roles, style, "")


@pytest.mark.parametrize(
    ("names", "roles"),
    [
        (("CT", "CT"), ("ct", "pet")),  # autoPET III
        (("CT", "PET", "noNorm"), ("ct", "pet", "clicks")),
        (("CT", "CT", "noNorm", "noNorm"), ("ct", "pet", "tumour", "background")),
    ],
)
def test_names_of_normalisations_mean_the_usual_order_and_that_is_said(names, roles):
    found = channels_of(described(*names), "here")
    assert found.roles == roles
    assert "autoPET's order" in found.note


@pytest.mark.parametrize("names", [("PET", "PET"), ("T1", "PET"), ("PET", "noNorm", "CT"), ("a",) * 5])
def test_other_names_are_asked_about(names):
    with pytest.raises(AnyPETError, match="do not say which is which"):
        channels_of(described(*names), "here")


def test_what_the_user_says_counts():
    assert channels_of(described("a", "b"), "here", ["pet", "ct"]).roles == ("pet", "ct")
    with pytest.raises(AnyPETError, match="2 channels"):
        channels_of(described("a", "b"), "here", ["pet"])
    for wrong in (["ct", "clicks"], ["pet", "pet"], ["pet", "gland"]):
        with pytest.raises(AnyPETError, match="expected pet once"):
            channels_of(described("a", "b"), "here", wrong)
    with pytest.raises(AnyPETError, match="expected pet once"):
        channels_of(described(*"abc"), "here", ["pet", "clicks", "tumour"])


def test_an_exported_set_says_how_its_clicks_are_drawn():
    given = Channels(("pet", "tumour", "background"), OURS)
    found = channels_of(described("PET", "noNorm", "noNorm", anypet=given.as_json()), "here")
    assert found == given
    with pytest.raises(AnyPETError, match="damaged"):
        channels_of(described("PET", anypet={"channels": ["pet"], "clicks": {"width": 3}}), "here")


def test_no_channel_names():
    with pytest.raises(AnyPETError, match="channel_names"):
        channels_of({"labels": {}}, "here")


def test_the_baseline_draws_deltas_under_one_filter_each():
    drawn = Channels(("ct", "pet", "tumour", "background"), BASELINE).draw(PET, CT, CLICKS)
    assert np.array_equal(drawn[0], CT.array)
    assert np.array_equal(drawn[1], PET.array)
    for channel, clicks in ((drawn[2], CLICKS.tumour), (drawn[3], CLICKS.background)):
        deltas = np.zeros(PET.shape)
        for click in clicks:
            deltas[click] = 1
        assert np.abs(channel - gaussian_filter(deltas, 3, mode="constant")).max() < 1e-6
        assert channel.max() > 0.002


def quantif(suv, clicks):
    """The released rule, transcribed: each tumour click cut and scaled by its maximum, the rest together."""
    positive, negative = np.zeros(suv.shape), np.zeros(suv.shape)
    for click in clicks.tumour:
        own = np.zeros(suv.shape)
        own[click] = 1
        own = gaussian_filter(own, 3, mode="constant")
        own[suv < min(4, suv[click])] = 0
        positive += own / own.max()
    positive = positive.clip(max=1)
    for click in clicks.background:
        negative[click] = 1
    negative = gaussian_filter(negative, 6, mode="constant")
    negative[positive > 0] = 0
    return positive - (negative / negative.max() if clicks.background else 0)


@pytest.mark.parametrize("clicks", [CLICKS, LesionClicks(CLICKS.tumour), LesionClicks((), CLICKS.background)])
def test_quantif_draws_one_signed_channel(clicks):
    drawn = Channels(("ct", "pet", "clicks"), QUANTIF).draw(PET, CT, clicks)[2]
    assert np.abs(drawn - quantif(PET.array, clicks)).max() < 1e-5
    assert drawn.min() == (-1 if clicks.background else 0)


def test_no_click_is_zeros():
    for style, roles in ((QUANTIF, ("pet", "clicks")), (BASELINE, ("pet", "tumour", "background"))):
        assert not Channels(roles, style).draw(PET, None, LesionClicks())[1:].any()


def test_a_missing_ct_is_asked_for():
    with pytest.raises(AnyPETError, match="--ct"):
        Channels(("ct", "pet"), BASELINE).draw(PET, None, CLICKS)
