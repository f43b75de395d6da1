"""Tests of clinical workflows in a real browser."""
