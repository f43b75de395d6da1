"""Access control: allowed hosts, same-origin checks, table of routes, limits of size and time, response headers."""
