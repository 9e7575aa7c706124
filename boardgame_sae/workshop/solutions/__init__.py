"""An answer to every exercise, a module for each lesson."""
