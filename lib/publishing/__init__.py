"""Model versions: kept for good, published whole, and which one serves."""

from lib.publishing.model_store import ModelStore, Serving

__all__ = ["ModelStore", "Serving"]
