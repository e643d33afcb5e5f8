"""`make bench-signs`: sound and broken models, and what their answers show without any reference."""
