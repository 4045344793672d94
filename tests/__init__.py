"""The tests, in the rooms of the library; ``tests.support`` is what they share."""
