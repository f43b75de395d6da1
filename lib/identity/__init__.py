"""Users of the server: accounts, roles, log-in sessions, limits of attempts, and the audit log."""
