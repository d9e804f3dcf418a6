"""What a server is told when it starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anypet.models.registry import home
from anypet.server.uploads import Limits

if TYPE_CHECKING:
    from anypet.dicomweb import Archive
    from anypet.models.base import PromptableModel


def default_state() -> Path:
    """Where a server keeps what it is not told a place for."""
    return home() / "serve"


@dataclass(frozen=True)
class Settings:
    """How to serve.

    Args:
        tokens: secret -> whose it is; who has it sees the sessions and uploads of that owner.
        state: where sessions, uploads and opened scans are kept; one server at a time.
        folder: scans that everybody with a token may open: a folder, or one file.
        unit: what files of the folder are in that do not say so themselves.
        client_unit: what images that programs send without a unit are in.
        hosts: further names under which this server is reached.
        origins: web pages of other servers that may talk to this one, as "https://viewer.example".
        model: a name of the model registry, or a model.
        weights: a weights file for a model given by name.
        devices: "cpu", "cuda:0", ...; each has a worker and a copy of the model.
        lesions: arguments for `anypet.lesions.pipeline.prepare` (`nets`, `tracer`).
        limits: of uploads.
        archive: the PACS that studies are fetched from and results are stored in.
        idle_s: seconds after which a session nobody uses is let go from memory.
        loaded: sessions in memory at most.
        session_bytes: memory for one session's embeddings.
        history_bytes: memory for the arrays of all sessions' histories.
        leases: clients of nnInteractive's protocol at a time.
        lease_idle_s, lease_liveness_s: seconds until such a client loses its lease: without an action, and
            without a sign of life.
    """

    tokens: Mapping[str, str]
    state: Path = field(default_factory=default_state)
    folder: Path | None = None
    unit: str | None = None
    client_unit: str = "SUVbw"
    hosts: Sequence[str] = ()
    origins: Sequence[str] = ()
    model: str | PromptableModel = "default"
    weights: Path | None = None
    devices: Sequence[str] = ("cpu",)
    lesions: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    archive: Archive | None = None
    idle_s: float = 1800.0
    loaded: int = 16
    session_bytes: int = 128 * 2**20
    history_bytes: int = 256 * 2**20
    leases: int = 8
    lease_idle_s: float = 600.0
    lease_liveness_s: float = 60.0
