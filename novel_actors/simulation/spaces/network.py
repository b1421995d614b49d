"""A static graph: who can reach whom.

The graph is two read-only arrays (compressed sparse rows): the neighbours of one node are a slice, those of a million
nodes one pass of numpy, and all partitions of a process share the arrays without a copy. A network knows node numbers
only; the simulation maps them to agents (node i is the i-th added agent of a kind).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from novel_actors.errors import NetworkError

Label = int | str
IntArray = npt.NDArray[np.int64]
NodeArray = npt.NDArray[np.int32]

NODES_MAX: Final = 2**31 - 1
"""Node numbers are stored in 32 bits."""

_RECORD_VERSION: Final = 1
_FINGERPRINT_BYTES: Final = 16
_LABEL_BOUND: Final = 2**63


class _Record(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """The body of a record; the arrays as little-endian bytes."""

    version: int
    directed: bool
    offsets: bytes
    targets: bytes
    labels: tuple[Label, ...]


class Graph(Protocol):
    """What `Network.from_networkx` asks of a graph; every graph class of networkx has it."""

    @property
    def nodes(self) -> Iterable[object]:
        """The nodes, in the graph's order."""

    @property
    def edges(self) -> Iterable[tuple[object, ...]]:
        """The edges: source, target and possibly a key."""

    def is_directed(self) -> bool:
        """Tell whether an edge leads one way only."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Network:
    """A graph over the nodes 0 to n - 1, fixed once built.

    An edge given twice counts once. A self-loop makes a node one of its own neighbours. In an undirected network every
    edge is stored at both of its ends.

    Attributes:
        offsets: (n + 1,) int64; the neighbours of node i are `targets[offsets[i]:offsets[i + 1]]`.
        targets: (m,) int32 node numbers, ascending within a node.
        directed: Whether an edge leads from its source to its target only.
        labels: The nodes' names in the graph that the network was made from, or empty.
    """

    offsets: IntArray
    targets: NodeArray
    directed: bool = False
    labels: tuple[Label, ...] = ()

    def __post_init__(self) -> None:
        """Check the arrays and close them to writing.

        Raises:
            NetworkError: The arrays are no graph in the form above, or there is not one label for each node.
        """
        problem = _problem(self.offsets, self.targets, self.labels)
        if problem is not None:
            raise NetworkError(problem)
        self.offsets.flags.writeable = False
        self.targets.flags.writeable = False

    @classmethod
    def from_edges(cls, nodes: int, sources: npt.ArrayLike, targets: npt.ArrayLike, directed: bool = False) -> Network:
        """Build a network from the two ends of its edges.

        Args:
            nodes: Number of nodes, 0 to 2**31 - 1.
            sources: (edges,) integers, 0 <= source < nodes.
            targets: (edges,) integers, 0 <= target < nodes.
            directed: Whether an edge leads from its source to its target only.

        Raises:
            NetworkError: A number is no integer or out of range, or the arrays differ in length.
        """
        if not 0 <= nodes <= NODES_MAX:
            raise NetworkError(f"network wants 0 to {NODES_MAX} nodes, got {nodes!r:.80}")
        heads = _node_numbers("sources", sources, nodes)
        tails = _node_numbers("targets", targets, nodes)
        if heads.size != tails.size:
            raise NetworkError(f"network wants as many sources as targets, got {heads.size} and {tails.size}")
        if not directed:
            heads, tails = np.concatenate((heads, tails)), np.concatenate((tails, heads))
        # One key for each edge: sorting the keys sorts by source, then target, and drops the doubles. It cannot
        # overflow, because both numbers are below 2**31.
        keys = np.unique(heads * nodes + tails)
        heads, tails = np.divmod(keys, max(nodes, 1))
        offsets = np.zeros(nodes + 1, np.int64)
        np.cumsum(np.bincount(heads, minlength=nodes), out=offsets[1:])
        return cls(offsets, tails.astype(np.int32), directed)

    @classmethod
    def from_networkx(cls, graph: Graph) -> Network:
        """Build a network from a graph of networkx: its nodes in the graph's order, its names as labels.

        Edge data are not taken over, and parallel edges count once.

        Raises:
            NetworkError: A node's name is neither a string nor an integer of 64 bits, so that no record could hold it.
        """
        names = list(graph.nodes)
        number = {name: i for i, name in enumerate(names)}
        edges = list(graph.edges)
        network = cls.from_edges(
            len(names), [number[edge[0]] for edge in edges], [number[edge[1]] for edge in edges], graph.is_directed()
        )
        return cls(network.offsets, network.targets, network.directed, tuple(_label(name) for name in names))

    @classmethod
    def from_record(cls, record: bytes) -> Network:
        """Read back what `to_record` wrote.

        Raises:
            NetworkError: The record is damaged, foreign or of another version.
        """
        fingerprint, body = record[:_FINGERPRINT_BYTES], record[_FINGERPRINT_BYTES:]
        if _digest(body) != fingerprint:
            raise NetworkError(f"network record of {len(record)} bytes is damaged or foreign: its fingerprint is wrong")
        try:
            fields = msgspec.msgpack.decode(body, type=_Record)
            offsets = np.frombuffer(fields.offsets, "<i8").astype(np.int64)
            targets = np.frombuffer(fields.targets, "<i4").astype(np.int32)
        except (msgspec.DecodeError, ValueError) as error:
            raise NetworkError(f"network record of {len(record)} bytes is foreign: {error}") from error
        if fields.version != _RECORD_VERSION:
            raise NetworkError(f"network record wants version {_RECORD_VERSION}, got {fields.version}")
        return cls(offsets, targets, fields.directed, fields.labels)

    def to_record(self) -> bytes:
        """Return the network as bytes: a fingerprint, then msgpack. Equal networks give equal bytes."""
        body = self._body()
        return _digest(body) + body

    @property
    def fingerprint(self) -> str:
        """A digest of edges and labels, 32 hexadecimal digits; equal for equal networks. Reads the arrays once."""
        return _digest(self._body()).hex()

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return self.offsets.size - 1

    @property
    def edges_total(self) -> int:
        """Number of edges; one of an undirected network counts once, though it is stored at both ends."""
        if self.directed:
            return self.targets.size
        loops = np.count_nonzero(np.repeat(np.arange(self.nodes), self.degree) == self.targets)
        return (self.targets.size + int(loops)) // 2

    @property
    def degree(self) -> IntArray:
        """(n,) number of neighbours of each node."""
        return np.diff(self.offsets)

    def neighbours(self, node: int) -> NodeArray:
        """Return the neighbours of a node, ascending, as a read-only view.

        Raises:
            NetworkError: There is no such node.
        """
        if not 0 <= node < self.nodes:
            raise NetworkError(f"network has the nodes 0 to {self.nodes - 1}, got {node!r:.80}")
        return self.targets[self.offsets[node] : self.offsets[node + 1]]

    def neighbours_of(self, nodes: npt.ArrayLike) -> tuple[NodeArray, IntArray]:
        """Return the neighbours of many nodes at once.

        Args:
            nodes: (k,) node numbers, in any order, repeats allowed.

        Returns:
            The neighbours one node after another, and (k + 1,) offsets: those of `nodes[i]` are at
            `offsets[i]` to `offsets[i + 1]`.

        Raises:
            NetworkError: There is no such node.
        """
        wanted = _node_numbers("nodes", nodes, self.nodes)
        starts = self.offsets[wanted]
        counts = self.offsets[wanted + 1] - starts
        offsets = np.zeros(wanted.size + 1, np.int64)
        np.cumsum(counts, out=offsets[1:])
        positions = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], counts)
        return self.targets[positions], offsets

    def __eq__(self, other: object) -> bool:
        """Tell whether nodes, edges, direction and labels are the same."""
        if not isinstance(other, Network):
            return NotImplemented
        return (
            self.directed == other.directed
            and self.labels == other.labels
            and np.array_equal(self.offsets, other.offsets)
            and np.array_equal(self.targets, other.targets)
        )

    def __hash__(self) -> int:
        """Return a hash that fits `==`."""
        return hash((self.nodes, self.targets.size, self.directed))

    def __repr__(self) -> str:
        """Return size and direction, as in `<Network: 77 nodes, 254 edges>`."""
        return f"<Network: {self.nodes} nodes, {self.edges_total} {'directed ' if self.directed else ''}edges>"

    def _body(self) -> bytes:
        offsets, targets = self.offsets.astype("<i8").tobytes(), self.targets.astype("<i4").tobytes()
        return msgspec.msgpack.encode(_Record(_RECORD_VERSION, self.directed, offsets, targets, self.labels))


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_FINGERPRINT_BYTES).digest()


def _label(name: object) -> Label:
    if isinstance(name, str):
        return name
    if isinstance(name, int | np.integer) and not isinstance(name, bool) and -_LABEL_BOUND <= name < _LABEL_BOUND:
        return int(name)
    raise NetworkError(f"network wants nodes named by strings or integers of 64 bits, got {name!r:.80}; rename them")


def _node_numbers(what: str, numbers: npt.ArrayLike, nodes: int) -> IntArray:
    array = np.asarray(numbers)
    if array.ndim != 1 or (array.size > 0 and array.dtype.kind not in "iu"):
        raise NetworkError(f"network wants {what} as one row of integers, got {array.ndim} dimensions of {array.dtype}")
    if array.size > 0:
        lowest, highest = int(array.min()), int(array.max())
        if lowest < 0 or highest >= nodes:
            wrong = lowest if lowest < 0 else highest
            raise NetworkError(f"network of {nodes} nodes wants {what} of 0 to {nodes - 1}, got {wrong}")
    return array.astype(np.int64, copy=False)


def _problem(offsets: IntArray, targets: NodeArray, labels: tuple[Label, ...]) -> str | None:
    if offsets.dtype != np.int64 or targets.dtype != np.int32 or offsets.ndim != 1 or targets.ndim != 1:
        return f"network wants offsets of int64 and targets of int32, got {offsets.dtype} and {targets.dtype}"
    if offsets.size == 0 or offsets[0] != 0 or offsets[-1] != targets.size or np.any(np.diff(offsets) < 0):
        return f"network wants offsets that rise from 0 to the {targets.size} targets"
    nodes = offsets.size - 1
    if targets.size > 0 and (targets.min() < 0 or targets.max() >= nodes):
        return f"network of {nodes} nodes wants targets of 0 to {nodes - 1}"
    rises = np.diff(targets) > 0
    starts = offsets[1:-1]
    rises[starts[(starts > 0) & (starts < targets.size)] - 1] = True
    if not rises.all():
        return "network wants the targets of a node ascending, each once"
    if labels and len(labels) != nodes:
        return f"network of {nodes} nodes wants a label for each or none, got {len(labels)}"
    return None
