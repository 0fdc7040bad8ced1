"""Benchmarks: whether a model got better, down to the single answer."""
