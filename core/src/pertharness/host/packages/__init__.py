"""Find the packages of plugins and identify their content, without importing them."""
