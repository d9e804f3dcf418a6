"""Downloads published weights, when asked to, with the Hugging Face Hub's own client."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from anypet.errors import WeightsError
from anypet.models.registry import FAMILIES, Entry, Published, check_name, register, weights_folder
from anypet.models.weights import guess_family, load_weights, verify


def plan(
    name: str, *, repo: str | None = None, file: str | None = None, family: str | None = None
) -> tuple[Published, Entry]:
    """What `fetch` would download, and under which entry, for a caller to show before it asks.

    Args:
        name: of a known model, or a new one (then all of the others are needed).
        repo: "owner/name" on the Hub, instead of the known one.
        file: path in that repository, instead of the known one.
        family: of `FAMILIES`, for a new name.

    Raises:
        WeightsError: it is not clear what to download; the message says what to give.
    """
    known = check_name(name) or Entry(
        name, family or "", "added by the user", "not known: see the repository"
    )
    if known.family not in FAMILIES or family not in (None, known.family):
        raise WeightsError(
            f"{name}: the family is {family or 'not given'}; give one of: {', '.join(FAMILIES)}"
        )
    place = known.published
    if repo or file:
        place = Published(repo or (place.repo if place else ""), file or (place.file if place else ""))
        # what is known of the usual file says nothing about another one
        known = replace(known, licence="not known: see the repository")
    if place is None or not place.repo or not place.file:
        raise WeightsError(
            f"{name} is not published where it can be fetched; download it yourself and "
            "`anypet models add` it, or say where it is with --repo and --file"
        )
    return place, known


def fetch(
    name: str,
    *,
    repo: str | None = None,
    file: str | None = None,
    revision: str | None = None,
    family: str | None = None,
    progress: bool = False,
) -> Entry:
    """Downloads weights into the user's folder, checks them, and gives them their name; nothing is converted.

    The index is written last, so that an interrupted download leaves no trace in it; calling again goes on
    where the client can. The endpoint is the client's own, HF_ENDPOINT if that is set.

    Args:
        name, repo, file, family: see `plan`.
        revision: a branch, tag or commit of the repository.
        progress: show the client's progress bar on stderr.

    Raises:
        WeightsError: unknown name, unreachable, or not the weights that were expected.
    """
    place, known = plan(name, repo=repo, file=file, family=family)
    path = _download(place, weights_folder(name), revision, progress)
    try:
        if place.sha256 is not None and revision is None:
            verify(path, place.sha256)
        found = guess_family(load_weights(path)[0])
        if found not in (None, known.family):
            raise WeightsError(
                f"{place.file} of {place.repo} holds weights of {found}, not of {known.family}"
            )
    except WeightsError:
        path.unlink()  # or the client would take it for a finished download next time
        raise
    source = f"{place.repo}/{place.file}" + (f"@{revision}" if revision else "")
    return register(name, path, family=known.family, licence=known.licence, source=source)


def _download(place: Published, folder: Path, revision: str | None, progress: bool) -> Path:
    import huggingface_hub

    # the client reads HF_ENDPOINT once, when it is imported; passed here, a later change counts too
    endpoint = os.environ.get("HF_ENDPOINT") or None
    try:
        with _progress(progress):
            got = huggingface_hub.hf_hub_download(
                place.repo, place.file, revision=revision, local_dir=folder, endpoint=endpoint
            )
    except (
        Exception
    ) as error:  # the client lets its transport's own errors through; they change between versions
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WeightsError(f"could not fetch {place.file} of {place.repo}: {first}") from error
    return Path(got)


@contextmanager
def _progress(show: bool) -> Iterator[None]:
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    hidden = are_progress_bars_disabled()
    if not show:
        disable_progress_bars()
    try:
        yield
    finally:
        if not show and not hidden:
            enable_progress_bars()
