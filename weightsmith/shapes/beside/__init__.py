"""What stands beside the shapes: side files, ties, end tokens, quantization."""
