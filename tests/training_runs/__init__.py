"""Writes what training runs leave, with the libraries that leave it."""
