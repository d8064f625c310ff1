"""What runs on this machine, and what to type if not."""
