"""Files that are there are whole: written under another name first, then renamed."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, content: bytes) -> Path:
    """Writes a file so that nobody ever sees half of it.

    Args:
        path: in a folder that exists; a file of that name is replaced.
        content: all of it.

    Returns:
        The path.

    Raises:
        OSError: the disk refuses; nothing is left behind.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path
