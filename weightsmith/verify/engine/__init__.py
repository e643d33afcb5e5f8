"""The engine, in a child process: what it was asked, what it said, what it really did."""
