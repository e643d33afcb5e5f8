"""Lets the numbers settle what the shapes leave open: the second witness is asked, and the first is asked again.

`wanted` knows which fields these are and needs no numpy; `settling` reads.
"""
