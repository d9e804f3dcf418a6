import subprocess
import sys

import numpy as np
import pytest
from lesion_fakes import HotNet, scan

from anypet.errors import AnyPETError, PromptError
from anypet.lesions.organs import Organs
from anypet.lesions.pipeline import find_lesions


def test_organs_are_looked_for_once():
    net, pet = HotNet(), scan()
    organs = Organs(pet, tracer="fdg", nets=[net])
    assert not net.seen
    warm = organs("warm")
    looked = len(net.seen)
    assert looked
    assert np.array_equal(organs("warm"), warm)
    assert len(net.seen) == looked
    truth = (pet.array > 1) & (pet.array < 2.5)
    assert 2 * (warm & truth).sum() / (warm.sum() + truth.sum()) > 0.9


def test_stray_pieces_of_an_organ_are_left_out():
    pet = scan(spots=())
    pet.array[:, :, 40:] = 0
    pet.array[18:21, 20:23, 50:53] = 1.5
    warm = Organs(pet, tracer="fdg", nets=[HotNet()])("warm")
    assert warm[20, 22, 20]
    assert not warm[:, :, 45:].any()


def test_what_is_not_known_or_not_there_is_said():
    organs = Organs(scan(), tracer="fdg", nets=[HotNet()])
    with pytest.raises(PromptError, match=r"'aorta' is not known; known are warm"):
        organs("aorta")
    cold = scan().with_array(np.where(scan().array > 2.5, 8, 0).astype(np.float32))
    with pytest.raises(PromptError, match="no warm was found"):
        Organs(cold, tracer="fdg", nets=[HotNet()])("warm")
    with pytest.raises(AnyPETError, match="SUVbw"):
        Organs(scan().with_array(scan().array, unit="BQML"), tracer="fdg", nets=[HotNet()])("warm")
    without = find_lesions(scan(), tracer="fdg", nets=[HotNet()], mirror=0)
    with pytest.raises(PromptError, match="not asked for"):
        without.organ("warm")


def test_commands_that_only_might_ask_do_not_wait_for_the_networks():
    code = "import sys, anypet.lesions.organs; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
