"""The stages of a package and its sampling loop -> one graph, image to image."""
