"""DiffLL behind HTTP: a server with one engine worker. It imports ``runtime`` alone: never torch, never onnx."""
