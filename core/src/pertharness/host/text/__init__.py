"""Texts for readers: escaped, quoted, with hints at the closest valid name."""
