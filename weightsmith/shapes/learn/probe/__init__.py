"""Builds models with changed configs and keeps what came out."""
