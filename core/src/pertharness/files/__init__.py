"""Files and folders of any kind: whole or absent, hashed, and what a full disk does to them."""
