"""Unlearning on boards: a family of positions is forgotten by clamping latents, and the rest retained."""
