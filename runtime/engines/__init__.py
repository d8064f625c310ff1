"""Engines built on this machine: the cache, and which of them fit."""
