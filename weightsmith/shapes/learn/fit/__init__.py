"""From what was seen to equations, conditions and rules."""
