"""A training run where it computes: a rank in a Spark executor, and the process next to it."""
