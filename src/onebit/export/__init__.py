"""From PyTorch to the packed file: capture, fuse, pack."""

from onebit.export.draft import PackError
from onebit.export.pack import Packed, pack

__all__ = ["PackError", "Packed", "pack"]
