"""Pictures of the documentation, taken in a real browser."""
