"""Weightsmith: is a model really what it says it is, and does it really run right here?"""

__version__ = "0.1.0"
