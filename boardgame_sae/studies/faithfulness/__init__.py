"""Is what a model does consistent with what it holds? After the paper on unfaithful reasoning (arXiv 2503.08679)."""
