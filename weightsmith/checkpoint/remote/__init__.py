"""Checkpoints that lie elsewhere: addresses, the hubs' protocols, and files that are read by range requests.

`path.RemotePath` stands where a local `Path` could stand; `checkpoint.place` is the only door to this room.
"""
