"""Offline training behind the shipped weights."""
