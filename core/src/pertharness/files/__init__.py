"""Files and folders: atomic writes, hashes, walking of trees, and errors of a full disk."""
