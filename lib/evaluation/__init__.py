"""Metrics, and what is made of them."""
