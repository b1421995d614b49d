from __future__ import annotations

import hashlib
from itertools import pairwise

import msgspec
import networkx as nx
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from novel_actors.errors import NetworkError
from novel_actors.simulation.spaces.network import Network

Edges = list[tuple[int, int]]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, Edges, bool]:
    nodes = draw(st.integers(1, 12))
    number = st.integers(0, nodes - 1)
    return nodes, draw(st.lists(st.tuples(number, number), max_size=40)), draw(st.booleans())


def network_of(nodes: int, edges: Edges, directed: bool) -> Network:
    return Network.from_edges(nodes, [edge[0] for edge in edges], [edge[1] for edge in edges], directed)


def neighbour_sets(nodes: int, edges: Edges, directed: bool) -> list[list[int]]:
    """The neighbours of every node by the definition of an edge."""
    pairs = set(edges) if directed else set(edges) | {(target, source) for source, target in edges}
    return [sorted(target for source, target in pairs if source == node) for node in range(nodes)]


@given(graphs())
def test_neighbours_are_the_other_ends_of_the_edges_in_order(graph: tuple[int, Edges, bool]) -> None:
    network, expected = network_of(*graph), neighbour_sets(*graph)
    assert [network.neighbours(node).tolist() for node in range(network.nodes)] == expected
    assert network.degree.tolist() == [len(neighbours) for neighbours in expected]


@given(graphs(), st.data())
def test_neighbours_of_many_nodes_are_those_of_each(graph: tuple[int, Edges, bool], data: st.DataObject) -> None:
    network, expected = network_of(*graph), neighbour_sets(*graph)
    wanted = data.draw(st.lists(st.integers(0, network.nodes - 1), max_size=20))
    flat, offsets = network.neighbours_of(wanted)
    assert [flat[start:end].tolist() for start, end in pairwise(offsets)] == [expected[node] for node in wanted]
    assert offsets[0] == 0
    assert offsets[-1] == flat.size


@given(graphs())
def test_edges_total_counts_an_edge_once_however_often_given(graph: tuple[int, Edges, bool]) -> None:
    _, edges, directed = graph
    different = set(edges) if directed else {(min(edge), max(edge)) for edge in edges}
    assert network_of(*graph).edges_total == len(different)


@given(graphs())
def test_record_gives_back_an_equal_network(graph: tuple[int, Edges, bool]) -> None:
    network = network_of(*graph)
    again = Network.from_record(network.to_record())
    assert again == network
    assert hash(again) == hash(network)
    assert again.fingerprint == network.fingerprint
    assert again.to_record() == network.to_record()


def test_order_and_repetition_of_edges_do_not_matter() -> None:
    network = Network.from_edges(3, [0, 1], [1, 2])
    assert network == Network.from_edges(3, [2, 1, 0, 1], [1, 0, 1, 0])
    assert network.fingerprint != Network.from_edges(3, [0, 1], [1, 2], directed=True).fingerprint
    assert network.fingerprint != Network.from_edges(4, [0, 1], [1, 2]).fingerprint


def test_les_miserables_has_its_77_characters_and_254_edges() -> None:
    graph = nx.les_miserables_graph()
    network = Network.from_networkx(graph)
    assert repr(network) == "<Network: 77 nodes, 254 edges>"
    assert network.labels == tuple(graph.nodes)
    for node, name in enumerate(network.labels):
        assert {network.labels[other] for other in network.neighbours(node)} == set(graph[name])
    assert Network.from_record(network.to_record()) == network


def test_directed_multigraph_keeps_direction_and_drops_parallels() -> None:
    graph: nx.MultiDiGraph[str] = nx.MultiDiGraph([("b", "a"), ("b", "a"), ("a", "a")])
    network = Network.from_networkx(graph)
    assert repr(network) == "<Network: 2 nodes, 2 directed edges>"
    assert network.labels == ("b", "a")
    assert [network.neighbours(node).tolist() for node in (0, 1)] == [[1], [1]]


def test_network_without_nodes_or_edges_is_one() -> None:
    assert repr(Network.from_edges(0, [], [])) == "<Network: 0 nodes, 0 edges>"
    flat, offsets = Network.from_edges(2, [], []).neighbours_of([1, 0])
    assert flat.size == 0
    assert offsets.tolist() == [0, 0, 0]


def test_arrays_are_closed_to_writing() -> None:
    network = Network.from_edges(2, [0], [1])
    for array in (network.offsets, network.targets, network.neighbours(0)):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


@pytest.mark.parametrize(
    ("nodes", "sources", "targets", "message"),
    [
        (-1, [], [], "wants 0 to 2147483647 nodes, got -1"),
        (2**31, [], [], "wants 0 to 2147483647 nodes, got 2147483648"),
        (3, [0, 3], [1, 1], "network of 3 nodes wants sources of 0 to 2, got 3"),
        (3, [0, 1], [1, -1], "network of 3 nodes wants targets of 0 to 2, got -1"),
        (3, [0, 1], [1], "as many sources as targets, got 2 and 1"),
        (3, [0.5], [1], "sources as one row of integers, got 1 dimensions of float64"),
        (3, [[0]], [1], "sources as one row of integers, got 2 dimensions of int64"),
    ],
)
def test_from_edges_refuses(nodes: int, sources: npt.ArrayLike, targets: npt.ArrayLike, message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        Network.from_edges(nodes, sources, targets)


def test_neighbours_refuses_a_node_that_is_not_there() -> None:
    network = Network.from_edges(2, [0], [1])
    for node in (-1, 2):
        with pytest.raises(NetworkError, match=f"got {node}"):
            network.neighbours(node)
        with pytest.raises(NetworkError, match=f"got {node}"):
            network.neighbours_of([0, node])


@pytest.mark.parametrize("name", [(0, 1), 2**63, True, 1.5])
def test_from_networkx_refuses_a_name_that_no_record_holds(name: object) -> None:
    graph: nx.Graph[object] = nx.Graph()
    graph.add_node(name)
    with pytest.raises(NetworkError, match="rename them"):
        Network.from_networkx(graph)


@pytest.mark.parametrize(
    ("offsets", "targets", "labels", "message"),
    [
        ([0, 1, 1], [2], (), "targets of 0 to 1"),
        ([0, 2, 2], [1, 0], (), "ascending, each once"),
        ([0, 2, 2], [1, 1], (), "ascending, each once"),
        ([0, 2, 1], [1], (), "rise from 0"),
        ([0, 1, 3], [1, 0], (), "rise from 0"),
        ([], [], (), "rise from 0"),
        ([0, 1, 2], [1, 0], ("a",), "a label for each or none, got 1"),
    ],
)
def test_arrays_that_are_no_graph_are_refused(
    offsets: list[int], targets: list[int], labels: tuple[str, ...], message: str
) -> None:
    with pytest.raises(NetworkError, match=message):
        Network(np.array(offsets, np.int64), np.array(targets, np.int32), labels=labels)


def test_record_with_any_bit_flipped_or_cut_is_refused() -> None:
    record = Network.from_networkx(nx.path_graph(3)).to_record()
    for bit in range(8 * len(record)):
        damaged = bytearray(record)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(NetworkError, match="damaged or foreign"):
            Network.from_record(bytes(damaged))
    for length in range(len(record)):
        with pytest.raises(NetworkError, match="damaged or foreign"):
            Network.from_record(record[:length])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([2, False, bytes(8), b"", []], "wants version 1, got 2"),
        ([1, False, bytes(9), b"", []], "foreign: buffer size"),
        ([1, False, bytes(8), b""], "foreign: .*length 5, got 4"),
        ({"nodes": 3}, "foreign: Expected `array`"),
    ],
)
def test_record_of_another_form_is_refused(fields: object, message: str) -> None:
    body = msgspec.msgpack.encode(fields)
    with pytest.raises(NetworkError, match=message):
        Network.from_record(hashlib.blake2b(body, digest_size=16).digest() + body)
