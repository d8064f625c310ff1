"""onnxruntime: sessions, and the capture of their work into CUDA graphs."""
