"""What probes read after some latents are ablated: targeted probe perturbation and spurious correlation removal."""
