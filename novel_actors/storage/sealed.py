"""Sealed records: bytes that say what they are and show when they were altered.

A seal in front of the payload holds magic, digest, version, length and kind. The digest covers all that follows it, so
that every truncation and every flipped bit is found before a byte of the payload is believed. It guards against
accidents, not against an author of forged records: nothing sealed is ever executed.
"""

from __future__ import annotations

import hashlib
import struct
from typing import TypeVar

import msgspec

from novel_actors.errors import RecordDamaged, RecordForeign, RecordVersionMismatch

_T = TypeVar("_T")

_MAGIC = b"NvAc"
_DIGEST_BYTES = 16
_BODY_AT = len(_MAGIC) + _DIGEST_BYTES
# Version, length of the payload, length of the kind.
_HEADER = struct.Struct("<IQB")
_KIND_AT = _BODY_AT + _HEADER.size


def _digest(body: memoryview | bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest()


def seal(kind: str, version: int, payload: bytes) -> bytes:
    """Return the payload behind a seal.

    Args:
        kind: What the record is, 1 to 255 bytes of UTF-8.
        version: Version of this kind, 0 to 2**32 - 1.
        payload: Any bytes.
    """
    name = kind.encode()
    assert 0 < len(name) < 256, f"a kind wants 1 to 255 bytes, got {kind!r}"
    body = b"".join((_HEADER.pack(version, len(payload), len(name)), name, payload))
    return b"".join((_MAGIC, _digest(body), body))


def unseal(data: bytes, kind: str, version: int) -> bytes:
    """Return the payload of a record of this kind and version.

    Raises:
        RecordForeign: The bytes are no record, or one of another kind.
        RecordVersionMismatch: The record has another version.
        RecordDamaged: The record is truncated or altered.
    """
    magic = data[: len(_MAGIC)]
    if magic != _MAGIC:
        if _MAGIC.startswith(magic):
            raise RecordDamaged(kind, f"it ends after {len(data)} bytes")
        raise RecordForeign(f"bytes that are no record of novel_actors and begin with {magic!r}", kind)
    if len(data) < _KIND_AT:
        raise RecordDamaged(kind, f"it ends after {len(data)} bytes, within its seal")
    found_version, payload_bytes, kind_bytes = _HEADER.unpack_from(data, _BODY_AT)
    payload_at = _KIND_AT + kind_bytes
    if len(data) != payload_at + payload_bytes:
        raise RecordDamaged(kind, f"it has {len(data)} bytes, its seal says {payload_at + payload_bytes}")
    if _digest(memoryview(data)[_BODY_AT:]) != data[len(_MAGIC) : _BODY_AT]:
        raise RecordDamaged(kind, "its digest does not match its bytes")
    found_kind = data[_KIND_AT:payload_at].decode()
    if found_kind != kind:
        raise RecordForeign(f"a record of kind {found_kind!r}", kind)
    if found_version != version:
        raise RecordVersionMismatch(kind, found_version, version)
    return data[payload_at:]


def pack(value: object, kind: str, version: int) -> bytes:
    """Return a value of a declared type as a sealed record of msgpack."""
    return seal(kind, version, msgspec.msgpack.encode(value))


def unpack(data: bytes, declared: type[_T], kind: str, version: int) -> _T:
    """Return the value of a record of `pack`, checked against its declared type.

    Raises:
        RecordForeign, RecordVersionMismatch: As for `unseal`.
        RecordDamaged: As for `unseal`, or the payload is not of the declared type.
    """
    payload = unseal(data, kind, version)
    try:
        return msgspec.msgpack.decode(payload, type=declared)
    except msgspec.DecodeError as error:
        raise RecordDamaged(kind, f"its payload is no {getattr(declared, '__name__', declared)}: {error}") from error
