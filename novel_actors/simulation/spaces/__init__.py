"""Spaces that agents live in."""
