"""DiffLL in PyTorch, written for this project with the official checkpoint's state-dict names."""

from .architecture import Architecture
from .diffll import DiffLL

__all__ = ["Architecture", "DiffLL"]
