"""A package against the PyTorch model."""
