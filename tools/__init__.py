"""Tools of the maintainers: benchmark, chaos and fuzzing. Nothing in lib imports them."""
