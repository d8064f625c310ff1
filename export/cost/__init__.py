"""Work and memory of a graph, counted and fitted."""
