"""The PyTorch model -> ONNX graphs."""
