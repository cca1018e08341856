"""The worker runs jobs in a plugin's own interpreter: ``PYTHON -I -m pertharness.worker JOB.json [JOB.json ...]``."""
