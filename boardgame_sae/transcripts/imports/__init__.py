"""Games that others wrote down, read into a corpus: a format is one module here, recognised by content."""
