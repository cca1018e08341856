"""Texts that a person reads: escaped, quoted, with what may have been meant."""
