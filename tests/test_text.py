import pytest

from anypet.errors import PromptError
from anypet.lesions.config import ORGANS
from anypet.text import LESIONS, understand


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("liver", ["liver"]),
        ("Liver and Spleen", ["liver", "spleen"]),
        ("left kidney", ["left kidney"]),
        ("the kidneys", ["left kidney", "right kidney"]),
        ("both lungs; heart", ["left lung", "right lung", "heart"]),
        ("R lung", ["right lung"]),
        ("bladder + prostate", ["urinary bladder", "prostate"]),
        ("bones", ["skeleton"]),
        ("left parotid", ["left salivary gland"]),
        ("all lesions", [LESIONS]),
        ("tumours", [LESIONS]),
        ("metastases and liver, liver", [LESIONS, "liver"]),
    ],
)
def test_what_people_write_is_understood(text, names):
    assert understand(text, ORGANS) == names


def test_a_side_alone_names_nothing():
    with pytest.raises(PromptError, match="right"):
        understand("kidney, right", ORGANS)


def test_every_organ_is_known_by_its_own_name():
    for name in ORGANS:
        assert understand(name, ORGANS) == [name]


@pytest.mark.parametrize("text", ["", "  ", "and", "the"])
def test_an_empty_text_lists_what_is_known(text):
    with pytest.raises(PromptError, match="left kidney"):
        understand(text, ORGANS)


def test_an_unknown_word_is_named_with_a_guess():
    with pytest.raises(PromptError, match=r"'livr' is not known \(did you mean 'liver'\?\).*all lesions"):
        understand("spleen, livr", ORGANS)


def test_a_side_of_what_has_none_is_refused():
    with pytest.raises(PromptError, match="left brain"):
        understand("left brain", ORGANS)
