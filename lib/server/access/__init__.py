"""Who may call what: allowed hosts, same-origin, the table of routes, limits of size and time, response headers."""
