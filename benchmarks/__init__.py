"""Benchmarks: every figure is a ratio against something real in the same run."""
