"""Frames straight from shard to shard, over ZeroMQ: private Unix sockets on a node, CURVE-encrypted TCP between nodes.

Every shard has one socket on which it receives (PULL), and one to each peer (PUSH). A frame is a head (run key, epoch,
tick, source) and its bytes. Frames that do not carry the run's key are a stranger's, those of an earlier epoch a dead
run's: both are dropped and counted. Nobody can be more than one tick ahead of a peer, so at most two frames of each
peer are ever held.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import zmq

from novel_actors.config import ExchangeSettings
from novel_actors.errors import ExchangeAborted, ExchangeTimeout
from novel_actors.runtime.runtime import Exchange

HEAD = struct.Struct("<32sQQQ")


@dataclass(frozen=True, slots=True)
class RunKeys:
    """The secrets of one run, handed out through Ray.

    Attributes:
        token: 32 bytes that every frame carries.
        public: The CURVE key of every receiving socket.
        secret: Its other half.
    """

    token: bytes
    public: bytes
    secret: bytes

    @classmethod
    def make(cls) -> RunKeys:
        """Return fresh keys."""
        public, secret = zmq.curve_keypair()
        return cls(os.urandom(32), public, secret)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a shard receives.

    Attributes:
        node: The name of its node; shards of one node use the Unix socket.
        ipc: The Unix socket.
        tcp: The TCP socket.
    """

    node: str
    ipc: str
    tcp: str


class ZmqExchange(Exchange):
    """One shard's end of the exchange.

    Args:
        shard: Its number.
        node: The name of its node.
        address: The address of the node for its peers on others.
        folder: A private folder for the Unix socket.
        keys: Of the run.
        settings: Bounds.

    Attributes:
        endpoint: Where this shard receives.
        peers: Where the others do; set before each `swap`.
        strangers_total: Frames without the run's key.
        stale_total: Frames of an earlier epoch or tick.
    """

    def __init__(
        self, shard: int, node: str, address: str, folder: Path, keys: RunKeys, settings: ExchangeSettings
    ) -> None:
        self._shard, self._keys, self._settings = shard, keys, settings
        self.peers: Mapping[int, Endpoint] = {}
        self.strangers_total = 0
        self.stale_total = 0
        self._context = zmq.Context()
        self._inbound = self._context.socket(zmq.PULL)
        self._inbound.setsockopt(zmq.MAXMSGSIZE, settings.frame_bytes_max)
        ipc = f"ipc://{folder}/{shard}-{os.getpid()}.sock"
        self._inbound.bind(ipc)
        self._inbound_tcp = self._context.socket(zmq.PULL)
        self._inbound_tcp.setsockopt(zmq.MAXMSGSIZE, settings.frame_bytes_max)
        self._inbound_tcp.curve_server = True
        self._inbound_tcp.curve_secretkey = keys.secret
        self._inbound_tcp.curve_publickey = keys.public
        port = self._inbound_tcp.bind_to_random_port(f"tcp://{address}")
        self.endpoint = Endpoint(node, ipc, f"tcp://{address}:{port}")
        self._poller = zmq.Poller()
        self._poller.register(self._inbound, zmq.POLLIN)
        self._poller.register(self._inbound_tcp, zmq.POLLIN)
        self._outbound: dict[int, tuple[Endpoint, zmq.Socket[bytes]]] = {}
        self._early: dict[tuple[int, int, int], bytes] = {}
        self._aborted_epoch = -1
        self._lock = threading.Lock()

    def abort(self, epoch: int) -> None:
        """Let a `swap` of this or an earlier epoch end with `ExchangeAborted`; may be called from another thread."""
        self._aborted_epoch = max(self._aborted_epoch, epoch)

    async def swap(self, epoch: int, tick: int, frames: Mapping[int, bytes]) -> Sequence[bytes]:
        """See `Exchange`.

        Raises:
            ExchangeAborted: Another thread called `abort`.
            ExchangeTimeout: A peer sent nothing for too long.
        """
        head = HEAD.pack(self._keys.token, epoch, tick, self._shard)
        for peer, data in frames.items():
            self._socket(peer).send_multipart([head, data], copy=False)
        for key in [key for key in self._early if key[:2] < (epoch, tick)]:
            del self._early[key]
            self.stale_total += 1
        known = {peer: self._early.pop((epoch, tick, peer)) for peer in frames if (epoch, tick, peer) in self._early}
        waited_ms = 0
        while len(known) < len(frames):
            if self._aborted_epoch >= epoch:
                raise ExchangeAborted(f"shard {self._shard} was told to stop waiting at tick {tick}")
            ready = self._poller.poll(self._settings.poll_ms)
            if not ready:
                waited_ms += self._settings.poll_ms
                if waited_ms >= self._settings.silence_s_max * 1000:
                    missing = sorted(set(frames) - set(known))
                    raise ExchangeTimeout(f"shard {self._shard} has no frame of shards {missing} for tick {tick}")
                continue
            for socket, _ in ready:
                self._receive(socket, epoch, tick, frames, known)
        return [known[peer] for peer in sorted(known)]

    def _receive(
        self, socket: zmq.Socket[bytes], epoch: int, tick: int, frames: Mapping[int, bytes], known: dict[int, bytes]
    ) -> None:
        while True:
            try:
                parts = socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            if len(parts) != 2 or len(parts[0]) != HEAD.size:
                self.strangers_total += 1
                continue
            token, of_epoch, of_tick, source = HEAD.unpack(parts[0])
            if token != self._keys.token:
                self.strangers_total += 1
            elif (of_epoch, of_tick) == (epoch, tick) and source in frames:
                known[source] = parts[1]
            elif (of_epoch, of_tick) > (epoch, tick) and len(self._early) < self._settings.early_frames_max:
                self._early[of_epoch, of_tick, source] = parts[1]
            else:
                self.stale_total += 1

    def _socket(self, peer: int) -> zmq.Socket[bytes]:
        endpoint = self.peers[peer]
        known = self._outbound.get(peer)
        if known is not None and known[0] == endpoint:
            return known[1]
        if known is not None:
            known[1].close(linger=0)
        socket: zmq.Socket[bytes] = self._context.socket(zmq.PUSH)
        if endpoint.node == self.endpoint.node:
            socket.connect(endpoint.ipc)
        else:
            socket.curve_serverkey = self._keys.public
            socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
            socket.connect(endpoint.tcp)
        self._outbound[peer] = (endpoint, socket)
        return socket

    def close(self) -> None:
        """Close all sockets; the Unix socket's file is removed."""
        for _, socket in self._outbound.values():
            socket.close(linger=0)
        self._inbound.close(linger=0)
        self._inbound_tcp.close(linger=0)
        self._context.term()
        with contextlib.suppress(FileNotFoundError):
            Path(self.endpoint.ipc.removeprefix("ipc://")).unlink()
