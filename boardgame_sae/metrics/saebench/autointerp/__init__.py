"""Automated interpretability: can a short explanation of a latent tell when it is on?"""
