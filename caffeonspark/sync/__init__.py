"""How the ranks stay one model: what they exchange, and when."""
