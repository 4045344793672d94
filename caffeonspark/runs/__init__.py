"""A training run on the driver: checks, attempts, failures, snapshots."""
