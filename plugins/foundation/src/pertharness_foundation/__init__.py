"""What the plugins of foundation models share; each module is one idea, and imports stand in the modules."""
