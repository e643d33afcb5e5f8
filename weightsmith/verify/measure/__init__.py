"""Numbers from answers: distances, noise, determinism, signs of life, cost, baselines."""
