"""Steering: one vector is added to a model's activations at every token, and it plays on; does it play better?"""
