"""`make bench-published`: models that people have, each with its config as its publisher wrote it (README.md)."""
