"""Which family: candidates by their names, the one that explains the tensors, other names for its settings."""
