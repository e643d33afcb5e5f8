"""Reads, computes and writes, in the order of the output's bytes."""
