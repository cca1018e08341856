"""Expression data in memory and on disk: the canonical form, its means, and its files."""
