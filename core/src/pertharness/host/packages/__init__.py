"""The packages that plugins are installed as, and what identifies them. None is imported here."""
