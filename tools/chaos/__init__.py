"""Killing the real server at random moments, and seeing that nothing is lost: ``python main.py chaos``."""
