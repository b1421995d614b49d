"""How objects get from one process of a run to another, over Ray's own channels.

Classes that a worker can import go by name; those of a notebook, of a script or of a file beside a scenario go by
value, once, with the actor that needs them. From then on both sides know them by number (`shared_classes` of whatever
was shipped), so a message or a state names its class in a few bytes, and a class stays one class.

Nothing of this is ever read from a socket, an HTTP body or a file: those carry msgpack (`simulation/frame.py`).
"""

from __future__ import annotations

import io
import pickle
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, cast

import cloudpickle

from novel_actors.errors import ShippingError


class Shipper:
    """Packs and unpacks objects for the other processes of a run.

    Attributes:
        classes: Known on both sides, by number.
    """

    def __init__(self) -> None:
        self.classes: list[type] = []
        self._numbers: dict[type, int] = {}

    def share(self, objects: Iterable[object]) -> None:
        """Know the `shared_classes` of these objects from now on."""
        for item in objects:
            for kind in getattr(item, "shared_classes", ()):
                if kind not in self._numbers:
                    self._numbers[kind] = len(self.classes)
                    self.classes.append(kind)

    def pack(self, value: object) -> bytes:
        """Return the bytes of a value.

        Raises:
            ShippingError: Something in it cannot leave the process; the message names it.
        """
        buffer = io.BytesIO()
        try:
            with by_value(local_modules()):
                _Packer(buffer, self._numbers).dump(value)
        except Exception as error:
            raise ShippingError(f"the model cannot be sent to a shard: {error}") from error
        return buffer.getvalue()

    def unpack(self, data: bytes) -> Any:
        """Return the value of bytes that another process of this run packed."""
        return _Unpacker(io.BytesIO(data), self.classes).load()


class _Packer(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(self, file: io.BytesIO, numbers: dict[type, int]) -> None:
        super().__init__(file, protocol=5)
        self._numbers = numbers

    def persistent_id(self, item: object) -> int | None:
        """Return the number of a class that both sides know."""
        return self._numbers.get(item) if isinstance(item, type) else None

    def reducer_override(self, item: Any) -> Any:
        """Let classes that bring a recipe of their own be made from it."""
        if isinstance(item, type) and hasattr(item, "__recipe__") and not is_importable(item):
            return item.__recipe__()
        return super().reducer_override(item)


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, classes: list[type]) -> None:
        super().__init__(file)
        self._classes = classes

    def persistent_load(self, number: int) -> type:
        """Return the class with a number."""
        return self._classes[number]


def is_importable(kind: type) -> bool:
    """Tell whether a worker finds the class under its name."""
    module = sys.modules.get(kind.__module__)
    if module is None or is_local(module):
        return False
    found: Any = module
    for part in kind.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is kind


def is_local(module: ModuleType) -> bool:
    """Tell whether a module belongs to the user's own files, which workers may not have."""
    name = module.__name__.partition(".")[0]
    if name == "__main__":
        return True
    file = getattr(module, "__file__", None)
    if name == __name__.partition(".")[0]:
        return False
    if file is None:
        # Modules of the interpreter and namespace packages have a spec; what somebody made by hand has none.
        return getattr(module, "__spec__", None) is None
    return not any(file.startswith(place) for place in _INSTALLED)


_INSTALLED = tuple({sysconfig.get_path(place) for place in ("purelib", "platlib", "stdlib", "platstdlib")})


def local_modules() -> list[ModuleType]:
    """Return the loaded modules of the user's own files, the main one excepted: that goes by value anyway."""
    return [
        module
        for name, module in list(sys.modules.items())
        if isinstance(cast("object", module), ModuleType) and name == module.__name__ != "__main__" and is_local(module)
    ]


@contextmanager
def by_value(modules: Iterable[ModuleType]) -> Iterator[None]:
    """Let cloudpickle pack what these modules define by value."""
    taken = [module for module in modules if module.__name__ not in cloudpickle.list_registry_pickle_by_value()]
    for module in taken:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in taken:
            cloudpickle.unregister_pickle_by_value(module)
