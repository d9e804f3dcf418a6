"""Small help with files that every layout needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from anypet.errors import AnyPETError
from anypet.formats import suffix_of


def stem(path: Path) -> str:
    """The file's name without its image suffix (".nii.gz" as one)."""
    return path.name[: len(path.name) - len(suffix_of(path))]


def there(*paths: Path) -> Path | None:
    """The first of the paths that exists, or None."""
    return next((path for path in paths if path.exists()), None)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        AnyPETError: the file is not JSON, or not an object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise AnyPETError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(content, dict):
        raise AnyPETError(f"{path} must hold an object, holds a {type(content).__name__}")
    return content
