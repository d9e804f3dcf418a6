"""Graphs whose measures are known from theory or worked by hand."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anypet.errors import AnyPETError
from anypet.quantify.network.graph import (
    Threshold,
    adjusted_rand_index,
    communities,
    graph_measures,
    graph_of,
    labels_of,
    node_measures,
    path_length,
    quick_measures,
    small_world,
)

ORGANS = ("brain", "heart", "liver", "spleen", "fat")
R = np.array(
    [
        [1.0, 0.6, 0.1, -0.7, 0.0],
        [0.6, 1.0, 0.4, 0.2, -0.1],
        [0.1, 0.4, 1.0, 0.5, 0.3],
        [-0.7, 0.2, 0.5, 1.0, 0.05],
        [0.0, -0.1, 0.3, 0.05, 1.0],
    ]
)


def edges(weights: np.ndarray) -> set[tuple[int, int]]:
    return {(int(i), int(j)) for i, j in np.argwhere(np.triu(weights, 1) > 0)}


def test_thresholds() -> None:
    assert edges(Threshold(value=0.4).weights(R)) == {(0, 1), (1, 2), (2, 3)}
    assert edges(Threshold(value=0.4, sign="absolute").weights(R)) == {(0, 1), (1, 2), (2, 3), (0, 3)}
    assert edges(Threshold(density=0.2).weights(R)) == {(0, 1), (2, 3)}
    assert edges(Threshold(density=0.2, sign="absolute").weights(R)) == {(0, 1), (0, 3)}
    everything = Threshold(density=1.0).weights(R)
    assert edges(everything) == {(0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (2, 4), (3, 4)}  # all above 0
    np.testing.assert_array_equal(everything, everything.T)
    assert everything[2, 3] == 0.5
    assert np.diag(everything).max() == 0
    assert Threshold(density=1.0, sign="absolute").weights(R)[0, 3] == 0.7


@pytest.mark.parametrize(
    ("given_", "word"),
    [({}, "one of them"), ({"density": 0.1, "value": 0.1}, "one of them"), ({"density": 0.0}, "density"),
     ({"density": 1.5}, "density"), ({"value": 1.0}, "correlations"), ({"value": -0.1}, "correlations")],
)  # fmt: skip
def test_thresholds_out_of_range(given_: dict[str, float], word: str) -> None:
    with pytest.raises(AnyPETError, match=word):
        Threshold(**given_)  # type: ignore[arg-type]


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 12), st.floats(0.05, 1.0), st.integers(0, 1000))
def test_density_is_reached(organs: int, density: float, seed: int) -> None:
    matrix = np.corrcoef(np.random.default_rng(seed).normal(size=(organs, 20)))
    weights = Threshold(density=density, sign="absolute").weights(matrix)
    total = organs * (organs - 1) // 2
    assert len(edges(weights)) == max(1, round(density * total))
    kept, left = weights[weights > 0].min(), np.abs(matrix[(weights == 0) & ~np.eye(organs, dtype=bool)])
    assert left.size == 0 or kept >= left.max()


def test_measures_by_hand() -> None:
    # a triangle brain-heart-liver with a tail liver-spleen, and fat alone
    weights = np.zeros((5, 5))
    for i, j, w in ((0, 1, 0.5), (0, 2, 0.4), (1, 2, 0.3), (2, 3, 0.2)):
        weights[i, j] = weights[j, i] = w
    graph = graph_of(weights, ORGANS)
    parts, modularity = communities(graph)
    nodes, whole = node_measures(graph, parts), graph_measures(graph, parts, modularity)
    assert [nodes[o].degree for o in ORGANS] == [2, 2, 3, 1, 0]
    assert [nodes[o].strength for o in ORGANS] == pytest.approx([0.9, 0.8, 0.9, 0.2, 0.0])
    assert [nodes[o].clustering for o in ORGANS] == pytest.approx([1, 1, 1 / 3, 0, 0])
    # through the liver run brain-spleen and heart-spleen, 2 of the 6 pairs of the other four
    assert [nodes[o].betweenness for o in ORGANS] == pytest.approx([0, 0, 1 / 3, 0, 0])
    assert (whole.edges, whole.density, whole.connected) == (4, 0.4, 0.8)
    assert whole.clustering == pytest.approx((1 + 1 + 1 / 3) / 5)
    assert whole.path_length == pytest.approx((4 * 1 + 2 * 2) / 6)
    assert whole.efficiency == pytest.approx((4 + 2 / 2) / 10)
    assert whole.strength == pytest.approx(2 * 1.4 / 5)
    assert quick_measures(weights)[:2] == pytest.approx([whole.clustering, whole.efficiency])


def test_modularity_by_newmans_formula() -> None:
    weights = Threshold(value=0.05, sign="absolute").weights(R)
    graph = graph_of(weights, ORGANS)
    parts, modularity = communities(graph)
    labels = np.array(labels_of(parts, ORGANS))
    degree, total = weights.sum(0), weights.sum()
    same = labels[:, None] == labels
    expected = ((weights - np.outer(degree, degree) / total) * same).sum() / total
    assert modularity == pytest.approx(expected)


def test_cliques_are_communities() -> None:
    graph = nx.relabel_nodes(nx.caveman_graph(4, 5), str)
    nx.set_edge_attributes(graph, 0.5, "weight")
    parts, modularity = communities(graph)
    assert sorted(map(len, parts)) == [5, 5, 5, 5]
    assert modularity == pytest.approx(0.75)  # 1 - 1 / number of equal cliques
    assert all(nx.density(graph.subgraph(part)) == 1 for part in parts)
    assert parts == communities(graph)[0]


def test_graph_without_edges() -> None:
    graph = graph_of(np.zeros((3, 3)), ORGANS[:3])
    parts, modularity = communities(graph)
    assert len(parts) == 3
    whole = graph_measures(graph, parts, modularity)
    assert (whole.edges, whole.communities, whole.efficiency) == (0, 0, 0)
    assert np.isnan([whole.modularity, whole.path_length, whole.small_world]).all()
    assert quick_measures(np.zeros((3, 3))) == [0, 0, 0]


def test_small_world_of_a_ring_and_of_chance() -> None:
    ring = nx.connected_watts_strogatz_graph(60, 6, 0.1, seed=1)  # the textbook's small world
    chance = nx.gnm_random_graph(60, 180, seed=1)
    assert small_world(ring, rewired=5) > 2
    assert small_world(chance, rewired=5) == pytest.approx(1, abs=0.5)
    assert np.isnan(small_world(nx.star_graph(5)))
    assert small_world(ring, rewired=3) == small_world(ring, rewired=3)
    assert path_length(nx.path_graph(3)) == pytest.approx(4 / 3)


def test_adjusted_rand_index() -> None:
    # worked by hand: of 6 pairs, together 2 in the first, 1 in the second, 1 in both; expected 2 * 1 / 6
    assert adjusted_rand_index([0, 0, 1, 1], [0, 0, 1, 2]) == pytest.approx((1 - 1 / 3) / (1.5 - 1 / 3))
    assert adjusted_rand_index("aabb", "xxyy") == 1
    assert adjusted_rand_index([0, 0, 0], [1, 1, 1]) == 1
    # sklearn.metrics.adjusted_rand_score of release 1.9
    rng = np.random.default_rng(0)
    a, b = rng.integers(4, size=30).tolist(), rng.integers(3, size=30).tolist()
    assert adjusted_rand_index(a, b) == pytest.approx(0.0228483409280534)
    with pytest.raises(AnyPETError, match="3 and 2"):
        adjusted_rand_index([1, 2, 3], [1, 2])
