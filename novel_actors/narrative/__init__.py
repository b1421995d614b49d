"""Personas, directors and chronicles."""
