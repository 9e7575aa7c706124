"""Services that show the metrics of trainings as they happen; one module each, which registers itself."""
