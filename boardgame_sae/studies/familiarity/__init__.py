"""Does a model know which positions it was trained on? After the paper on entity recognition (arXiv 2411.14257)."""
