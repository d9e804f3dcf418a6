"""Files that are there are whole: they are written under another name first, then renamed."""

from __future__ import annotations

import os
from pathlib import Path

from anypet.errors import AnyPETError


def write_whole(path: Path, content: bytes | str) -> Path:
    """Writes a file; one under this name is replaced once the new one is complete.

    Args:
        path: in a folder that exists.
        content: text becomes UTF-8.

    Raises:
        AnyPETError: no such folder, or the disk refuses.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content.encode() if isinstance(content, str) else content)
        part.replace(path)
    except OSError as error:
        raise AnyPETError(f"{path}: cannot be written: {error}; give a folder that exists") from error
    finally:
        part.unlink(missing_ok=True)
    return path
