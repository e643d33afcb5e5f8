"""WITNESS 2: what the numbers prove about the weights: latent, fused, packed, damaged, equal. numpy, no torch."""
