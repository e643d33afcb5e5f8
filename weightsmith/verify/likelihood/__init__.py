"""Settings that no shape and no number tells: which of their values make known texts likely, and which do not."""
