"""Facts in, checks out."""
