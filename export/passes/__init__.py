"""Rewrites of a graph, one a file. No torch here."""
