"""Ray as the batch uses it: a private one on this machine that ends with this process, or a cluster."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from anypet.errors import AnyPETError

log = logging.getLogger(__name__)
_TRIES = 3
_STORE_BYTES = 80 * 2**20  # Ray's least; cases and reports are all that travels


@contextmanager
def ray_for(address: str | None, cores: int | None = None) -> Iterator[Any]:
    """The module `ray`, connected; disconnected at the end. A Ray that the caller has connected to is used.

    A Ray of our own listens on the loopback interface only, asks for a token, sends no usage statistics and
    shows no dashboard. The system ends it with this process, even when that is killed.

    Args:
        address: of a running cluster ("auto" for the one that this machine belongs to), or None.
        cores: of a Ray of our own; by default those that this process may use.

    Raises:
        AnyPETError: Ray is not installed, does not start, or there is no cluster at the address.
    """
    ray = _import(address)
    if ray.is_initialized():
        yield ray
        return
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address is not None:
        try:
            ray.init(address=address, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise AnyPETError(f"no Ray cluster can be reached at {address}: {error}") from error
    else:
        options = {"num_cpus": cores or own_cores(), "include_dashboard": False}
        _start(ray, {"address": "local", "object_store_memory": _STORE_BYTES, **options, **quiet})
    try:
        yield ray
    finally:
        ray.shutdown()


def own_cores() -> int:
    """The cores that this process may use, which a Slurm job or a container may limit."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def placement(
    nodes: Sequence[Mapping[str, float]], workers: int, gpus: float = 0.0, memory_bytes: int = 0
) -> int:
    """The most threads that each worker may have so that all of them find a place.

    Args:
        nodes: what each machine has: "CPU", "GPU", "memory" (bytes), as Ray names them.
        workers: how many there are to be.
        gpus: for each; below 1 several share one.
        memory_bytes: for each, 0 for any.

    Raises:
        AnyPETError: they do not fit, and what there is.
    """
    for threads in range(int(max((n.get("CPU", 0) for n in nodes), default=0)), 0, -1):
        wanted = {"CPU": float(threads), "GPU": gpus, "memory": float(memory_bytes)}
        if sum(_fit(node, wanted) for node in nodes) >= workers:
            return threads
    have = "; ".join(
        f"{node.get('CPU', 0):g} cores, {node.get('GPU', 0):g} GPUs, {node.get('memory', 0) / 1e9:.1f} GB"
        for node in nodes
    )
    each = f"a core{f', {gpus:g} GPUs' if gpus else ''}"
    each += f", {memory_bytes / 1e9:.1f} GB" if memory_bytes else ""
    raise AnyPETError(
        f"{workers} workers with {each} each do not fit on {have or 'no machine'}; ask for fewer"
    )


def _fit(node: Mapping[str, float], wanted: Mapping[str, float]) -> int:
    """How many workers one machine holds."""
    return min(int(node.get(name, 0) / need + 1e-9) for name, need in wanted.items() if need)


def _import(address: str | None) -> Any:
    """Imports Ray with its environment set, which it reads while it is imported."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if address is None:
        # despite its name this decides on every system whether Ray takes the loopback or the outer address
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        import ray
    except ImportError as error:
        raise AnyPETError("a batch needs Ray: pip install 'anypet[batch]'") from error
    return ray


def _start(ray: Any, options: Mapping[str, Any]) -> None:
    """Starts a Ray of our own; on a busy machine its parts may miss their own time limit of 15 s."""
    for left in reversed(range(_TRIES)):
        try:
            ray.init(**options)
            return
        except Exception as error:  # Ray raises the base class here
            ray.shutdown()
            if not left:
                raise AnyPETError(f"Ray did not start on this machine: {error}") from error
            log.warning("Ray did not start, trying again: %s", error)
