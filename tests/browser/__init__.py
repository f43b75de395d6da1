"""Tests that do in a real browser what a clinician does."""
