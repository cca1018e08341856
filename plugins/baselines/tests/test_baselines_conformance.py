"""The plugin keeps every promise of the conformance kit."""

from pertharness.testing import conformance

test_conformance = conformance("pertharness_baselines")
