"""Stores of bytes by key: in memory and on LMDB."""
