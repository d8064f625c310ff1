"""A model repository for NVIDIA's Triton: a model of its python backend that hosts the runtime."""
