"""What computes: the interface that loop, validation and inference use, and one package for each engine."""
