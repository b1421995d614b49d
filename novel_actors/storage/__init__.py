"""Stores of bytes by key: in memory and on LMDB."""

from novel_actors.storage.lmdb_store import LmdbStore
from novel_actors.storage.memory_store import MemoryStore
from novel_actors.storage.sealed import pack, seal, unpack, unseal
from novel_actors.storage.store import Durability, Store, StoreStatistics, WriteBatch

__all__ = [
    "Durability",
    "LmdbStore",
    "MemoryStore",
    "Store",
    "StoreStatistics",
    "WriteBatch",
    "pack",
    "seal",
    "unpack",
    "unseal",
]
