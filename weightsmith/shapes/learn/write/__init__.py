"""Puts what was learned together as a page."""
