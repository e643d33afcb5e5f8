"""The engine, in a child process: what it is asked, what it generates, what it really does."""
