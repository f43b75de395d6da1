"""Model versions: kept for good, published whole, and which one serves."""

from lib.publishing.model_store import ModelStore

__all__ = ["ModelStore"]
