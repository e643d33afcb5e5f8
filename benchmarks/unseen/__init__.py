"""What the numbers of trained, untrained and broken models tell: who is right, who is wrong, and how often."""
