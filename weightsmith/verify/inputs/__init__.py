"""What a verification starts from: files, kind of model, prompts, latent weights, tokens."""
