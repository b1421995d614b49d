"""Pools, mapped buffers, leak search and garbage-collector settings."""
