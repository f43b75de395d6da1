"""Model versions: immutable storage, atomic publication, and the choice of the one in use."""

from lib.publishing.model_store import ModelStore, Serving

__all__ = ["ModelStore", "Serving"]
