"""What training runs leave: many files of many processes, read as the one table that the model had.

Each process of a run wrote a part. Which part is told by what the files themselves state (placements, shapes of
parameters, offsets) and by the shapes of the parts, never by the user: `find` knows the folders, a module for each
library makes the table, and tensors are tilings of what lies in the files (checkpoint/tiling.py).
"""
