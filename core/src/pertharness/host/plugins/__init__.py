"""The offers of plugins, and their conformance. No plugin is imported here."""
