"""Reader studies: who reads which image in which order, what they may see, and what their labels become."""
