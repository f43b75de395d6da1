"""Processes and threads: priorities, background workers, lifetime of child processes."""
