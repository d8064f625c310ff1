"""The model package: read, checked, written."""
