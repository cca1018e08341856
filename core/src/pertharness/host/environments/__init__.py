"""A plugin's own environment: built from what the plugin says it needs, kept by content, never half."""
