"""This machine, proven with a tiny HRM-Text of our own."""
