"""`make bench-faults`: models made wrong in one thing each, and models that are right; who says so, and how."""
