"""Load by several readers at once, and the check that nothing of theirs is lost."""
