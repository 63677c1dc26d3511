"""Fitting latent tags, as a batch program of its own: files in, files out. Serving imports nothing of it."""
