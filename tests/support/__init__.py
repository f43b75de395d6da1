"""What tests start: the server as a user starts it, a PACS, a browser."""
