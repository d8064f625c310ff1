"""A folder of photos on many machines, by Ray Data."""
