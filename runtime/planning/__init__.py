"""How a photo is run within memory: pure functions, no engine."""
