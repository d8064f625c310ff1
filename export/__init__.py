"""Checkpoint -> model package -> engines. PyTorch lives here, and outside this folder only in benchmarks that compare with it."""
