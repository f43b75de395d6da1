"""One ``TaskConfig`` for each model."""
