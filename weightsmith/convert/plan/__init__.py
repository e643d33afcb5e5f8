"""What will be written, from headers alone: converter, config, side files, every offset."""
