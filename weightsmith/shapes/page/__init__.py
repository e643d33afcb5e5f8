"""The page of a family: its equation language, its conditions, the names it is read under, and what it predicts."""
