"""Spurious cues: a probe that learned two concepts as one is repaired by ablating the latents of the one not meant.

SHIFT (Marks et al. 2024, arXiv 2403.19647): a classifier is trained where profession and gender coincide; a person
reads what each latent stands for, and those that are about gender are ablated. Karvonen et al. (arXiv 2411.18895) put a
language model in the person's place, and SAEBench chooses by attribution to a gender probe. Here the judge knows the
truth: a latent is about the spurious concept where, on positions at which the two concepts are independent, it
classifies that concept (or its opposite) better than it does the intended one, by F1 as on its card.

Latents are set to their mean where the concepts coincide. Published, they are set to zero, and that cannot repair a
probe that rests on one latent for each concept: its threshold lies between none and both, so that with one set to zero
the other alone stays below it wherever the spurious one outweighed it. A probe that is trained again has a threshold of
its own.

The judge's margin and the number of latents that attribution takes are chosen on validation games, for each SAE.
"""
