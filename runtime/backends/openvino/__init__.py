"""OpenVINO: compiled models, and how a graph is written for it."""
