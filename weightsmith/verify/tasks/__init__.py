"""Task accuracy: lm-evaluation-harness asks the server what it asks every model, and a baseline says what to expect."""
