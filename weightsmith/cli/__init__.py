"""The door: the command line. One file for each command; `terminal` alone prints."""

from weightsmith.cli.main import commands, main

__all__ = ["commands", "main"]
