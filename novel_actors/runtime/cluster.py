"""The one door to Ray: shards as Ray actors, on a cluster of one's own or an existing one.

Ray is the control plane: it places, starts and watches actors and carries their calls, some each tenth of a second.
Frames never pass through it: see `exchange.py`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
import tempfile
import time
import types
from collections.abc import Callable, Coroutine, Generator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

if "ray" not in sys.modules:
    # Ray reads this when it is imported; whoever imported it before us has decided already.
    os.environ.setdefault("RAY_AUTH_MODE", "token")

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError

from novel_actors.config import ClusterSettings, ExchangeSettings
from novel_actors.errors import ActorDiedError, ClusterError, ExchangeAborted, NovelActorsError
from novel_actors.runtime.exchange import Endpoint, RunKeys, ZmqExchange
from novel_actors.runtime.runtime import ActorRef, Exchange, Runtime
from novel_actors.runtime.shipping import Shipper

T = TypeVar("T")
R = TypeVar("R")


class ExchangeHandle(Exchange):
    """Stands for a shard's end of the exchange until it arrives in the shard's process."""

    def __init__(self, peers: Mapping[int, Endpoint]) -> None:
        self.peers = dict(peers)

    async def swap(self, epoch: int, tick: int, frames: Mapping[int, bytes]) -> list[bytes]:
        """Never called: the host puts the real exchange in its place."""
        raise AssertionError("an exchange handle does not swap")


class Host:
    """The Ray actor that hosts one object of ours."""

    def __init__(self, folder: str, keys: RunKeys, settings: ExchangeSettings, packed: bytes) -> None:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        self._shipper = Shipper()
        kind, args, kwargs = self._shipper.unpack(packed)
        self._shipper.share((*args, *kwargs.values()))
        self._target = kind(*args, **kwargs)
        number = getattr(self._target, "number", None)
        self._exchange: ZmqExchange | None = None
        if number is not None:
            context = ray.get_runtime_context()
            place = Path(folder)
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            address = str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]
            self._exchange = ZmqExchange(number, context.get_node_id(), address, place, keys, settings)

    def describe(self) -> tuple[int, Endpoint | None]:
        """Return the process id and where the shard receives frames."""
        return os.getpid(), None if self._exchange is None else self._exchange.endpoint

    def call(self, packed: bytes) -> bytes:
        """Run a method of the object; return ("value", result) or ("error", exception), packed."""
        try:
            method, args, kwargs = self._shipper.unpack(packed)
            result = method(self._target, *(self._local(arg) for arg in args), **kwargs)
            if isinstance(result, Coroutine):
                result = complete(result)
            return self._shipper.pack(("value", result))
        except NovelActorsError as error:
            error.__cause__ = error.__context__ = None
            return self._shipper.pack(("error", error))

    def _local(self, argument: Any) -> Any:
        if not isinstance(argument, ExchangeHandle):
            return argument
        assert self._exchange is not None
        self._exchange.peers = argument.peers
        return self._exchange

    def abort(self, epoch: int) -> None:
        """Let a call that waits for frames of this or an earlier epoch end."""
        if self._exchange is not None:
            self._exchange.abort(epoch)

    def close(self) -> None:
        """Close the exchange."""
        if self._exchange is not None:
            self._exchange.close()


def complete(call: Coroutine[Any, Any, R]) -> R:
    """Run a coroutine that waits for nothing outside itself."""
    try:
        call.send(None)
    except StopIteration as stop:
        return cast("R", stop.value)
    raise AssertionError("a hosted coroutine waits for something that is not in its process")


@types.coroutine
def ready(ref: ray.ObjectRef[Any]) -> Generator[list[Any], None, None]:
    """Wait, in a coroutine that `RayRuntime` runs, until a result is there."""
    while not ray.wait([ref], timeout=0)[0]:
        yield [ref]


class RayActorRef(ActorRef[T], Generic[T]):
    """An object hosted in a Ray actor."""

    def __init__(self, handle: Any, shipper: Shipper, name: str) -> None:
        self.handle, self._shipper, self.name = handle, shipper, name
        self.pid = 0
        self.endpoint: Endpoint | None = None

    async def call(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """See `ActorRef`."""
        try:
            ref = self.handle.call.remote(self._shipper.pack((method, args, kwargs)))
            await ready(ref)
            what, value = self._shipper.unpack(ray.get(ref))
        except RayActorError as error:
            raise ActorDiedError(f"{self.name} is gone: {first_line(error)}") from None
        if what == "error":
            raise value
        return value

    def __repr__(self) -> str:
        return f"<RayActorRef {self.name}>"


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's text."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class RayRuntime(Runtime):
    """Hosts shards as Ray actors; a cluster that it started ends with it.

    Args:
        address: "local" starts a cluster for this run alone; "auto" or "IP:PORT" joins one. None: the one that this
            process is connected to already, else "local".
        cpus: How many a cluster of one's own has.
        settings: How Ray is used.
        exchange: Bounds of the exchange.

    Raises:
        ClusterError: The cluster cannot be reached, or does not fit.
    """

    is_remote = True

    def __init__(
        self,
        address: str | None = None,
        cpus: int = 1,
        settings: ClusterSettings | None = None,
        exchange: ExchangeSettings | None = None,
    ) -> None:
        self.settings = settings or ClusterSettings()
        self._exchange_settings = exchange or ExchangeSettings()
        self._keys = RunKeys.make()
        self._folder = Path(tempfile.mkdtemp(prefix="novel-actors-", dir=short_folder()))
        self._shards: dict[int, RayActorRef[Any]] = {}
        self._refs: list[RayActorRef[Any]] = []
        self._epoch = 0
        self.owns_cluster = False
        self.start_s: dict[str, float] = {}
        try:
            self._connect(address, cpus)
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def _connect(self, address: str | None, cpus: int) -> None:
        started = time.monotonic()
        if ray.is_initialized():
            if address not in (None, "auto"):
                raise ClusterError(f"this process is connected to a Ray cluster already, and cannot join {address!r}")
            return
        options: dict[str, Any] = {"log_to_driver": False, "include_dashboard": False, "logging_level": logging.ERROR}
        try:
            if address in (None, "local"):
                ray.init(
                    address="local",
                    num_cpus=cpus,
                    object_store_memory=self.settings.object_store_bytes,
                    _temp_dir=str(self._folder / "ray"),
                    **options,
                )
                self.owns_cluster = True
            else:
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise ClusterError(f"no Ray cluster at {address or 'local'!r}: {first_line(error)}") from None
        self.start_s["ray"] = time.monotonic() - started

    async def spawn(self, kind: Callable[..., T], *args: Any, **kwargs: Any) -> RayActorRef[T]:
        """See `Runtime`.

        Raises:
            ClusterError: The cluster has no room within `resources_s_max`; the message says what is missing.
            ShippingError: The model cannot be sent.
        """
        started = time.monotonic()
        shipper = Shipper()
        packed = shipper.pack((kind, args, kwargs))
        shipper.share((*args, *kwargs.values()))
        options = {"num_cpus": self.settings.shard_cpus, "max_concurrency": 4, "enable_task_events": False}
        folder = str(self._folder / "exchange")
        remote: Any = ray.remote(Host)
        handle = remote.options(**options).remote(folder, self._keys, self._exchange_settings, packed)
        name = f"{getattr(kind, '__name__', 'actor')} {args[1] if len(args) > 1 else ''}".strip()
        ref: RayActorRef[T] = RayActorRef(handle, shipper, name)
        asked = handle.describe.remote()
        try:
            ref.pid, ref.endpoint = ray.get(asked, timeout=self.settings.resources_s_max)
        except GetTimeoutError:
            ray.kill(handle)
            free = ray.available_resources().get("CPU", 0.0)  # type: ignore[no-untyped-call]
            raise ClusterError(
                f"{name} waited {self.settings.resources_s_max:g} s for {self.settings.shard_cpus:g} CPU, of which the "
                f"cluster has {free:g} free: ask for fewer shards, or add nodes"
            ) from None
        except RayError as error:
            raise ClusterError(f"{name} could not start: {error}") from None
        self._refs.append(ref)
        self.start_s["actors"] = self.start_s.get("actors", 0.0) + time.monotonic() - started
        return ref

    async def stop(self, ref: ActorRef[Any]) -> None:
        """See `Runtime`."""
        hosted = cast("RayActorRef[Any]", ref)
        with contextlib.suppress(RayError, GetTimeoutError):
            ray.get(hosted.handle.close.remote(), timeout=self.settings.stop_s_max)
        ray.kill(hosted.handle)
        if hosted in self._refs:
            self._refs.remove(hosted)

    async def gather(self, *calls: Coroutine[Any, Any, R]) -> list[R]:
        """See `Runtime`; when a call fails, the shards that wait for frames are told to stop waiting."""
        results: dict[int, R] = {}
        failures: list[BaseException] = []
        waiting = dict(enumerate(calls))
        pending: dict[int, list[Any]] = {}
        try:
            while waiting:
                for index in list(waiting):
                    try:
                        pending[index] = waiting[index].send(None)
                    except StopIteration as stop:
                        results[index] = stop.value
                        del waiting[index]
                    except NovelActorsError as error:
                        del waiting[index]
                        failures.append(error)
                        if len(failures) == 1:
                            self._abort()
                if waiting:
                    await together([ref for index in waiting for ref in pending[index]])
        finally:
            for call in waiting.values():
                call.close()
        if failures:
            raise min(failures, key=severity)
        return [results[index] for index in range(len(calls))]

    def _abort(self) -> None:
        """Tell all shards to stop waiting for frames of any epoch known so far."""
        for shard in self._shards.values():
            shard.handle.abort.remote(self._epoch)

    def exchange(self, shard: int, epoch: int) -> ExchangeHandle:
        """See `Runtime`."""
        self._epoch = max(self._epoch, epoch)
        return ExchangeHandle({n: ref.endpoint for n, ref in self._shards.items() if ref.endpoint is not None})

    def bind(self, shard: int, ref: ActorRef[Any]) -> None:
        """See `Runtime`."""
        self._shards[shard] = cast("RayActorRef[Any]", ref)

    def run(self, call: Coroutine[Any, Any, R]) -> R:
        """See `Runtime`."""
        try:
            while True:
                pending = call.send(None)
                ray.wait(pending, num_returns=1, timeout=1.0)
        except StopIteration as stop:
            return cast("R", stop.value)
        finally:
            call.close()

    def close(self) -> None:
        """End all actors of this run, the cluster when it is its own, and remove its files."""
        for ref in list(self._refs):
            ray.kill(ref.handle)
        self._refs, self._shards = [], {}
        if self.owns_cluster:
            ray.shutdown()
            self.owns_cluster = False
        shutil.rmtree(self._folder, ignore_errors=True)


@types.coroutine
def together(refs: list[Any]) -> Generator[list[Any], None, None]:
    """Wait until one of several results is there."""
    yield refs


def severity(error: BaseException) -> int:
    """Order the failures of one gathering: a death or an agent's error comes before its consequences."""
    if isinstance(error, ExchangeAborted):
        return 2
    return 0 if not isinstance(error, ActorDiedError) else 1


def short_folder() -> str:
    """Return a folder for temporary files whose path is short enough for Unix sockets below it."""
    default = tempfile.gettempdir()
    return default if len(default) <= 32 else "/tmp"
