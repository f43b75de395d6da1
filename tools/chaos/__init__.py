"""Chaos testing: kill the real server at random moments and check that nothing is lost."""
