"""The reference, in a child process: transformers on the CPU, and its negative controls."""
