"""What executors get to know of a run: plain, picklable values, and how they are made of a net and its data."""
