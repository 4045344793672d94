"""What computes: the interface that ranks, inference and planning use, and one package for each engine."""
