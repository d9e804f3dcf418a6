import numpy as np
import pytest

from anypet.lesions.inputs import channels


def test_channels_by_hand():
    suv = np.array([[[0.0, 1.0, np.sinh(2.0), np.nan]]])
    hu = np.array([[[-3000.0, 50.0, 1000.0, np.nan]]])
    clicks = np.array([[[1.0, 0.0, -0.5, 0.0]]])
    pet, ct, drawn, tracer = channels(suv, hu, clicks, "PSMA").numpy()
    np.testing.assert_allclose(pet[0, 0], [0, np.log(1 + np.sqrt(2)), 2, 0], rtol=1e-6)
    np.testing.assert_allclose(ct[0, 0], [-2, 0.1, 2, -2], rtol=1e-6)
    np.testing.assert_allclose(drawn, clicks)
    assert (tracer == -1).all()


@pytest.mark.parametrize(("tracer", "value"), [("FDG", 1), ("PSMA", -1), ("", 0)])
def test_without_ct_its_channel_is_empty(tracer, value):
    found = channels(np.ones((2, 2, 2)), None, np.zeros((2, 2, 2)), tracer)
    assert found.shape == (4, 2, 2, 2)
    assert (found[1] == 0).all()
    assert (found[3] == value).all()
