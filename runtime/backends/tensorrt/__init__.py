"""TensorRT and TensorRT-RTX, which share one API, on CUDA."""
