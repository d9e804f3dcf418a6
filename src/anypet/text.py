"""Words for what is to be segmented: organ names, synonyms, pairs, and "all lesions"."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from anypet.errors import PromptError

LESIONS = "lesions"

# what people write -> the organ's own name; plurals and articles are taken off before
SYNONYMS = {
    "bladder": "urinary bladder",
    "gut": "bowel",
    "intestine": "bowel",
    "intestines": "bowel",
    "bone": "skeleton",
    "skeletal system": "skeleton",
    "bone marrow": "skeleton",
    "cerebrum": "brain",
    "hepatic": "liver",
    "myocardium": "heart",
    "cardiac": "heart",
    "prostate gland": "prostate",
    "gaster": "stomach",
    "lien": "spleen",
    "kidney": "kidney",
    "lung": "lung",
    "parotid": "salivary gland",
    "parotid gland": "salivary gland",
    "submandibular gland": "salivary gland",
    "lesion": LESIONS,
    "lesions": LESIONS,
    "all lesions": LESIONS,
    "tumour": LESIONS,
    "tumor": LESIONS,
    "metastasis": LESIONS,
    "metastases": LESIONS,
    "cancer": LESIONS,
}
SIDES = {"left": "left", "l": "left", "lt": "left", "right": "right", "r": "right", "rt": "right"}
_LESION = re.compile(
    r"lesion|tumou?r|\bgtv|metasta|cancer|carcinoma|lymphoma|sarcoma|malignan|lymph node", re.IGNORECASE
)
_IDLE = {"the", "a", "an", "all", "both", "each", "every", "any", "my", "of", "please", "segment"}


def is_lesion(name: str) -> bool:
    """Whether the name of a label means disease ("lesion 3", "GTV_Mass", "tumor") and not an organ."""
    return bool(_LESION.search(name))


def understand(text: str, organs: Sequence[str]) -> list[str]:
    """What a text asks for, in its order: names of `organs`, or "lesions".

    "liver and spleen", "left kidney", "kidneys" (both), "lungs, heart", "all lesions". Sides are the
    patient's.

    Args:
        text: in English, capitals do not matter.
        organs: names that can be found, paired ones as "left X" and "right X".

    Raises:
        PromptError: a word is not known; the message lists those that are.
    """
    found: list[str] = []
    for phrase in re.split(r"\s*(?:,|;|\+|&|\band\b|\bor\b|\bplus\b)\s*", text.strip().lower()):
        for name in _names(phrase, organs):
            if name not in found:
                found.append(name)
    if not found:
        raise PromptError(f"the text {text!r} names nothing; known: {known_words(organs)}")
    return found


def known_words(organs: Sequence[str]) -> str:
    """The names that `understand` takes, for messages and help."""
    return ", ".join([*organs, "all lesions"])


def _names(phrase: str, organs: Sequence[str]) -> list[str]:
    """One phrase -> names; none for an empty one."""
    words = [w for w in re.findall(r"[a-z]+", phrase) if w not in _IDLE]
    if not words:
        return []
    side = next((SIDES[w] for w in words if w in SIDES), "")
    core = " ".join(w for w in words if w not in SIDES)
    for candidate in (core, _singular(core)):
        name = SYNONYMS.get(candidate, candidate)
        if name == LESIONS and not side:
            return [LESIONS]
        if name in organs and not side:
            return [name]
        pair = [f"{s} {name}" for s in ("left", "right") if f"{s} {name}" in organs]
        if pair:
            return [p for p in pair if p.startswith(side)]
    close = difflib.get_close_matches(" ".join(words), [*organs, *SYNONYMS], 1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    raise PromptError(f"{phrase.strip()!r} is not known{hint}; known: {known_words(organs)}")


def _singular(words: str) -> str:
    return re.sub(r"s$", "", words)
