"""Where workers find a place."""

import pytest

from anypet.batch.cluster import own_cores, placement, ray_for
from anypet.errors import AnyPETError

GIB = 10**9


@pytest.mark.parametrize(
    ("nodes", "workers", "gpus", "memory", "threads"),
    [
        ([{"CPU": 2}], 2, 0, 0, 1),
        ([{"CPU": 16}], 3, 0, 0, 5),
        ([{"CPU": 16}, {"CPU": 16}], 3, 0, 0, 8),  # not 10: the third would find 6 here and 6 there
        ([{"CPU": 16, "GPU": 2}, {"CPU": 64}], 2, 1, 0, 8),  # the machine without a GPU takes none
        ([{"CPU": 16, "GPU": 1}], 4, 0.25, 0, 4),
        ([{"CPU": 8, "GPU": 1}], 3, 1 / 3, 0, 2),
        ([{"CPU": 64, "memory": 10 * GIB}, {"CPU": 4, "memory": 64 * GIB}], 4, 0, 8 * GIB, 1),
    ],
)
def test_the_most_threads_that_let_all_in(nodes, workers, gpus, memory, threads):
    assert placement(nodes, workers, gpus, memory) == threads


def test_what_does_not_fit_is_said():
    with pytest.raises(AnyPETError, match=r"3 workers with a core, 1 GPUs each .* 8 cores, 2 GPUs, 0.0 GB"):
        placement([{"CPU": 8, "GPU": 2}], 3, 1)
    with pytest.raises(AnyPETError, match=r"a core, 9.0 GB each do not fit on 8 cores, 0 GPUs, 16.0 GB"):
        placement([{"CPU": 8, "memory": 16 * GIB}], 2, 0, 9 * GIB)
    with pytest.raises(AnyPETError, match="no machine"):
        placement([], 1)


def test_cores_are_those_of_the_job(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 2}, raising=False)
    assert own_cores() == 3


def test_no_ray_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(AnyPETError, match=r"anypet\[batch\]"), ray_for("auto"):
        pass


class Stubborn:
    """A Ray that starts at the third attempt, or never."""

    def __init__(self, works_at):
        self.left, self.shut, self.given = works_at, 0, None

    def is_initialized(self):
        return False

    def init(self, **given):
        self.left, self.given = self.left - 1, given
        if self.left:
            raise Exception("The current node timed out during startup")

    def shutdown(self):
        self.shut += 1


def test_a_busy_machine_is_given_time(monkeypatch):
    ray = Stubborn(3)
    monkeypatch.setattr("anypet.batch.cluster._import", lambda address: ray)
    with ray_for(None, cores=2) as found:
        assert found is ray
    assert ray.given["address"] == "local"
    assert ray.given["num_cpus"] == 2
    assert ray.given["include_dashboard"] is False
    assert ray.shut == 3  # after two failures, and at the end
    monkeypatch.setattr("anypet.batch.cluster._import", lambda address: Stubborn(9))
    with (
        pytest.raises(AnyPETError, match="Ray did not start on this machine: The current node"),
        ray_for(None),
    ):
        pass


def test_no_cluster_at_the_address(monkeypatch):
    class Nobody(Stubborn):
        def init(self, **given):
            raise ConnectionError("refused")

    monkeypatch.setattr("anypet.batch.cluster._import", lambda address: Nobody(1))
    message = r"no Ray cluster can be reached at 10.0.0.1:6379: refused"
    with pytest.raises(AnyPETError, match=message), ray_for("10.0.0.1:6379"):
        pass


def test_a_connection_of_the_caller_is_used_and_left_open(monkeypatch):
    class Connected(Stubborn):
        def is_initialized(self):
            return True

    ray = Connected(1)
    monkeypatch.setattr("anypet.batch.cluster._import", lambda address: ray)
    with ray_for(None) as found:
        assert found is ray
    assert ray.shut == 0
    assert ray.given is None
