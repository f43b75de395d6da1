"""HTTP routes of this app, which take precedence over MONAI Label's own."""
