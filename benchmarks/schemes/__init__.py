"""`make bench-schemes`: packed weights made plain, and ModelSlim written, beside the libraries of these formats."""
