"""The built-in datasets, as a plugin, keep every promise of the conformance kit."""

from pertharness.testing import conformance

test_conformance = conformance("pertharness.datasets")
