"""One conversion as several runs: each writes its share of the weights files, and a last one joins them."""
