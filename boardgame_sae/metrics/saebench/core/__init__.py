"""SAEBench's core metrics: what splicing an SAE into the GPT costs, and how its latents and weights look."""
