"""The version: the only place. pyproject.toml reads it from here, and every room may import it."""

__version__ = "0.2.0"
