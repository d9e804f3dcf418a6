"""Files appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from anypet.errors import AnyPETError
from anypet.files import write_whole


def test_text_and_bytes_replace_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    assert write_whole(path, "µSv") == path
    assert path.read_text(encoding="utf-8") == "µSv"
    write_whole(path, b"\x00\x01")
    assert path.read_bytes() == b"\x00\x01"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_whole(tmp_path / "a.txt", "old")

    def full(self: Path, target: Path) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(AnyPETError, match=r"a\.txt: cannot be written: no space left"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(AnyPETError, match="give a folder that exists"):
        write_whole(tmp_path / "no" / "a.txt", "new")
