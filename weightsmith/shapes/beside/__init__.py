"""What stands beside the shapes: side files, end tokens, quantization."""
