"""From a correlation matrix to a graph, and what the graph looks like; measured by networkx.

Topology (clustering, path length, efficiency, betweenness) is of the graph without weights, as usual where
networks are compared at one density; strength, modularity and communities use the weights.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import networkx as nx
import numpy as np
import numpy.typing as npt

from anypet.errors import AnyPETError
from anypet.quantify.network.covariance import from_pairs, pairs

log = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]
Sign = Literal["positive", "absolute"]

RESTARTS = 20  # Louvain depends on the order of nodes: the best of so many orders is taken
REWIRED = 20  # random graphs that small-worldness compares with


@dataclass(frozen=True)
class Threshold:
    """Which correlations become edges.

    Args:
        density: share of all pairs, the strongest first; or
        value: all correlations of at least this.
        sign: "positive" takes positive correlations only; "absolute" takes negative ones by their size, which
            puts organs that oppose each other into one community.

    Raises:
        AnyPETError: not just one of density and value is given, or it is out of range.
    """

    density: float | None = None
    value: float | None = None
    sign: Sign = "positive"

    def __post_init__(self) -> None:
        if (self.density is None) == (self.value is None):
            raise AnyPETError("a network is thresholded by a density or by a value: give one of them")
        if self.density is not None and not 0 < self.density <= 1:
            raise AnyPETError(f"a density lies above 0 and is at most 1, got {self.density}")
        if self.value is not None and not 0 <= self.value < 1:
            raise AnyPETError(f"a threshold of correlations lies between 0 and 1, got {self.value}")

    def weights(self, correlation: FloatArray) -> FloatArray:
        """Edge weights.

        Args:
            correlation: (P, P).

        Returns:
            (P, P), symmetric, above 0 where there is an edge and 0 elsewhere. By density, fewer edges than
            asked for where fewer correlations are above 0.
        """
        strengths = pairs(correlation)
        strengths = np.abs(strengths) if self.sign == "absolute" else np.maximum(strengths, 0.0)
        if self.value is not None:
            return from_pairs(np.where(strengths >= self.value, strengths, 0.0), len(correlation))
        assert self.density is not None
        wanted = max(1, round(self.density * strengths.size))
        kept = np.zeros_like(strengths)
        strongest = np.argsort(-strengths, kind="stable")[:wanted]
        kept[strongest] = strengths[strongest]
        return from_pairs(kept, len(correlation))


@dataclass(frozen=True)
class NodeMeasures:
    """What an organ is in the network.

    Args:
        degree: number of its edges.
        strength: sum of their weights.
        clustering: share of pairs of its neighbours that are joined (Watts and Strogatz 1998).
        betweenness: share of the shortest paths between others that run through it (Freeman 1977).
        community: number of its community, from 1, the largest first.
    """

    degree: int
    strength: float
    clustering: float
    betweenness: float
    community: int


@dataclass(frozen=True)
class GraphMeasures:
    """What the network is as a whole.

    Args:
        edges: their number.
        density: their share of all pairs.
        strength: mean over organs.
        clustering: mean over organs.
        path_length: mean shortest path, in edges, over the pairs of the largest connected part.
        connected: share of organs in that part.
        efficiency: mean of 1 / shortest path over all pairs, 0 where there is none (Latora, Marchiori 2001).
        modularity: of the communities (Newman 2006; found by Louvain's method, Blondel 2008).
        communities: their number, organs without edges not counted.
        small_world: (C / C_random) / (L / L_random) against rewired graphs with the same degrees (Humphries,
            Gurney 2008; Maslov, Sneppen 2002); NaN where it is not defined.
    """

    edges: int
    density: float
    strength: float
    clustering: float
    path_length: float
    connected: float
    efficiency: float
    modularity: float
    communities: int
    small_world: float


def graph_of(weights: FloatArray, organs: Sequence[str]) -> nx.Graph:
    """The graph of (P, P) weights, 0 for no edge; nodes are organ names in their order."""
    graph = nx.Graph()
    graph.add_nodes_from(organs)
    for i, j in np.argwhere(np.triu(weights, k=1) > 0):
        graph.add_edge(organs[i], organs[j], weight=float(weights[i, j]))
    return graph


def communities(graph: nx.Graph, seed: int = 0, restarts: int = RESTARTS) -> tuple[list[set[str]], float]:
    """Communities, the largest first, and their modularity; the best of several Louvain runs.

    Returns:
        Every node is in one community; NaN for the modularity of a graph without edges.
    """
    if not graph.number_of_edges():
        return [{node} for node in graph], float("nan")
    names = list(graph)
    numbered = nx.convert_node_labels_to_integers(graph)  # sets of names have another order in every process
    best: list[set[int]] = []
    highest = -np.inf
    for restart in range(restarts):
        found = nx.community.louvain_communities(numbered, weight="weight", seed=seed + restart)
        modularity = nx.community.modularity(numbered, found, weight="weight")
        if modularity > highest + 1e-12:
            best, highest = found, modularity
    best = sorted(best, key=lambda part: (-len(part), min(part)))
    return [{names[n] for n in part} for part in best], float(highest)


def node_measures(graph: nx.Graph, parts: Sequence[set[str]]) -> dict[str, NodeMeasures]:
    """Organ -> its measures; `parts` from `communities`."""
    strength = dict(graph.degree(weight="weight"))
    clustering = nx.clustering(graph)
    between = nx.betweenness_centrality(graph)
    number = {node: n for n, part in enumerate(parts, start=1) for node in part}
    return {
        node: NodeMeasures(
            degree=int(graph.degree(node)),
            strength=float(strength[node]),
            clustering=float(clustering[node]),
            betweenness=float(between[node]),
            community=number[node],
        )
        for node in graph
    }


def graph_measures(
    graph: nx.Graph, parts: Sequence[set[str]], modularity: float, seed: int = 0
) -> GraphMeasures:
    """Measures of the whole graph; `parts` and `modularity` from `communities`."""
    nodes = graph.number_of_nodes()
    largest = _largest_part(graph)
    return GraphMeasures(
        edges=graph.number_of_edges(),
        density=float(nx.density(graph)),
        strength=2 * float(graph.size(weight="weight")) / nodes,
        clustering=float(nx.average_clustering(graph)),
        path_length=path_length(graph),
        connected=len(largest) / nodes,
        efficiency=float(nx.global_efficiency(graph)),
        modularity=modularity,
        communities=sum(len(part) > 1 for part in parts),
        small_world=small_world(graph, seed),
    )


QUICK = ("clustering", "efficiency", "modularity")


def quick_measures(weights: FloatArray, names: Sequence[str] = QUICK) -> list[float]:
    """Measures of a whole graph that are quick enough to be had thousands of times.

    Args:
        weights: (P, P), from `Threshold.weights`.
        names: of `QUICK`; the modularity is that of one Louvain run, and 0 without edges.
    """
    graph = graph_of(weights, [str(n) for n in range(len(weights))])
    measure: dict[str, Callable[[], float]] = {
        "clustering": lambda: nx.average_clustering(graph),
        "efficiency": lambda: nx.global_efficiency(graph),
        "modularity": lambda: communities(graph, restarts=1)[1] if graph.number_of_edges() else 0.0,
    }
    return [float(measure[name]()) for name in names]


def _largest_part(graph: nx.Graph) -> set[str]:
    parts: list[set[str]] = list(nx.connected_components(graph))
    return max(parts, key=len, default=set())


def path_length(graph: nx.Graph) -> float:
    """Mean shortest path in edges over the pairs of the largest connected part; NaN without edges."""
    largest = _largest_part(graph)
    if len(largest) < 2:
        return float("nan")
    return float(nx.average_shortest_path_length(graph.subgraph(largest)))


def small_world(graph: nx.Graph, seed: int = 0, rewired: int = REWIRED) -> float:
    """Humphries and Gurney's sigma against rewired graphs of the same degrees; NaN where undefined."""
    clustering, length = nx.average_clustering(graph), path_length(graph)
    references = []
    for number in range(rewired):
        random = graph.copy()
        swaps = 5 * graph.number_of_edges()
        try:
            nx.double_edge_swap(random, nswap=swaps, max_tries=100 * swaps, seed=seed + number)
        except nx.NetworkXException:  # too few edges, or a star: there is nothing to swap
            return float("nan")
        references.append((nx.average_clustering(random), path_length(random)))
    by_chance = np.mean(references, axis=0)
    return float((clustering / by_chance[0]) / (length / by_chance[1])) if by_chance[0] > 0 else float("nan")


def labels_of(parts: Sequence[set[str]], organs: Sequence[str]) -> list[int]:
    """Number of each organ's community, from 1."""
    number = {node: n for n, part in enumerate(parts, start=1) for node in part}
    return [number[organ] for organ in organs]


def adjusted_rand_index(first: Sequence[object], second: Sequence[object]) -> float:
    """How far two divisions of the same things agree: 1 if wholly, about 0 by chance.

    Hubert and Arabie, J Classification 1985;2:193.

    Raises:
        AnyPETError: they are not as long as each other.
    """
    if len(first) != len(second):
        raise AnyPETError(f"divisions of {len(first)} and {len(second)} things cannot be compared")
    together = {"both": 0, "first": 0, "second": 0}
    total = 0
    for (a, b), (c, d) in itertools.combinations(zip(first, second, strict=True), 2):
        total += 1
        together["both"] += a == c and b == d
        together["first"] += a == c
        together["second"] += b == d
    expected = together["first"] * together["second"] / total if total else 0.0
    most = (together["first"] + together["second"]) / 2
    return 1.0 if most == expected else (together["both"] - expected) / (most - expected)
