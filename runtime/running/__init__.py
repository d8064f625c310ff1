"""What runs a photo: the loop, strips, tiles, streams, and which engine."""
