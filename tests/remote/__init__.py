"""Tests of remote checkpoints, against real servers on the loopback device."""
