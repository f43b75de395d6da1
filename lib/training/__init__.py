"""Offline training, which produced the shipped weights."""
