"""Checkpoint -> model package -> engines. PyTorch lives here, and in the benchmarks that compare with it."""
