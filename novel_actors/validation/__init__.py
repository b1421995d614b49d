"""Workloads, benchmarks and their reports."""
