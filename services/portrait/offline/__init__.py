"""The offline verbs: files in, files out, the same domain code, no database."""

from services.portrait.offline.compute import compute

__all__ = ["compute"]
