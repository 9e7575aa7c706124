"""RAVEL on boards: latents are swapped between two positions, and later layers are asked what stands where."""
