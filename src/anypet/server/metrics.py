"""What a server tells Prometheus: clicks and their time, the queue, sessions, memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from anypet.server.engine import Engine

TEXT = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """Counters of one server.

    Args:
        engine: what is measured.
    """

    def __init__(self, engine: Engine) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.registry.register(_State(engine))
        self._steps = Histogram(
            "anypet_step_seconds", "From a prompt to its answer, the wait included", ["kind"],
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._waits = Histogram(
            "anypet_wait_seconds",
            "Time that jobs waited for their worker",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._work = Counter("anypet_work_seconds", "Time that workers worked", registry=self.registry)
        self._answers = Counter(
            "anypet_answers", "HTTP answers by status", ["status"], registry=self.registry
        )

    def step(self, kind: str, seconds: float) -> None:
        """A prompt was answered."""
        self._steps.labels(kind).observe(seconds)

    def ran(self, waited: float, seconds: float) -> None:
        """A job has ended."""
        self._waits.observe(waited)
        self._work.inc(seconds)

    def answered(self, status: int) -> None:
        """A request was answered."""
        self._answers.labels(str(status)).inc()

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)


class _State(Collector):
    """What is read off when it is asked for."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        engine = self._engine
        if not hasattr(engine, "workers"):  # asked for while the server is being built
            return
        for name, help_, value in (
            ("anypet_queue", "Jobs that wait", sum(w.waiting for w in engine.workers)),
            ("anypet_jobs_running", "Long jobs that have not ended", engine.jobs.running),
            ("anypet_sessions_loaded", "Sessions in memory", engine.store.loaded),
            ("anypet_sessions_stored", "Sessions on disk", engine.store.count),
            ("anypet_session_bytes", "Memory of embeddings, maps and histories", engine.store.nbytes),
        ):
            yield GaugeMetricFamily(name, help_, value)
