"""ONNX graphs -> engines of each library."""
