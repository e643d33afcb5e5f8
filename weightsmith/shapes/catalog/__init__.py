"""Family pages: data, one JSON file per model type."""
