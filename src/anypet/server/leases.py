"""Leases of nnInteractive's protocol: who holds a session, and since when nothing was heard of them."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from anypet.errors import AnyPETError
from anypet.objects import Patch
from anypet.prompts import Box, Point


class FullError(AnyPETError):
    """All leases are taken."""


class ExpiredError(AnyPETError):
    """The lease is not, or not any more."""


@dataclass
class Lease:
    """One client of the protocol.

    Args:
        token: its secret.
        owner: whose bearer token it came with.
        active, seen: when it last did something, and when it was last heard of (monotonic seconds).
        session: id of its session, once there is an image.
        object: name of the object that it works on.
        dtype: of its buffer.
        shown: the mask that its buffer holds.
        pending: clicks and boxes that wanted no prediction yet, one entry an interaction.
    """

    token: str
    owner: str
    active: float
    seen: float
    session: str = ""
    object: str = ""
    dtype: npt.DTypeLike = np.uint8
    shown: Patch = field(default_factory=lambda: Patch.empty(bool))
    pending: list[tuple[list[Point], Box | None]] = field(default_factory=list)


class Leases:
    """The leases that are out.

    Args:
        most: at a time.
        idle_s: seconds without an action until one is lost.
        liveness_s: seconds without any sign of life until one is lost.
        now: a clock, in seconds.
    """

    def __init__(
        self, most: int, idle_s: float, liveness_s: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.most, self.idle_s, self.liveness_s = most, idle_s, liveness_s
        self._now = now
        self._leases: dict[str, Lease] = {}
        self._lost: list[Lease] = []
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._leases)

    def claim(self, owner: str) -> Lease:
        """A new lease.

        Raises:
            FullError: all are out.
        """
        self.sweep()
        with self._lock:
            if len(self._leases) >= self.most:
                raise FullError(f"server is at capacity ({self.most} sessions)")
            now = self._now()
            lease = Lease(secrets.token_hex(16), owner, now, now)
            self._leases[lease.token] = lease
            return lease

    def get(self, token: str | None, owner: str, sign: str = "action") -> Lease:
        """A lease that is out.

        Args:
            token: its secret.
            owner: who asks.
            sign: what the request is a sign of: an "action", just "life", or nothing ("look").

        Raises:
            ExpiredError: there is none, or it is somebody else's.
        """
        self.sweep()
        lease = self._leases.get(token or "")
        if lease is None or lease.owner != owner:
            raise ExpiredError("lease token missing" if not token else "lease expired or unknown")
        if sign != "look":
            lease.seen = self._now()
        if sign == "action":
            lease.active = lease.seen
        return lease

    def release(self, token: str | None, owner: str) -> Lease | None:
        """Takes a lease back; None if it is not out."""
        with self._lock:
            lease = self._leases.get(token or "")
            if lease is None or lease.owner != owner:
                return None
            return self._leases.pop(lease.token)

    def remaining(self, lease: Lease) -> float:
        """Seconds until a lease is lost for want of action."""
        return max(0.0, self.idle_s - (self._now() - lease.active))

    def sweep(self) -> None:
        """Takes back the leases of those who are idle or gone."""
        now = self._now()
        with self._lock:
            for lease in list(self._leases.values()):
                if now - lease.seen > self.liveness_s or now - lease.active > self.idle_s:
                    self._lost.append(self._leases.pop(lease.token))

    def lost(self) -> list[Lease]:
        """The leases that were taken back since the last call."""
        self.sweep()
        with self._lock:
            lost, self._lost = self._lost, []
            return lost
