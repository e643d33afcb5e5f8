"""The one room that knows transformers: what it builds, which names it takes, and the proof of a config."""
