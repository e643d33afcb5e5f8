"""What is given: a config that states values, a checkpoint whose tensors play roles on a page and may be copies."""
