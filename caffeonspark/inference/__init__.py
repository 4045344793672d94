"""Test and feature extraction, in plain Spark tasks."""
