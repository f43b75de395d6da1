"""Processes and threads: priorities, background workers, the parent process."""
