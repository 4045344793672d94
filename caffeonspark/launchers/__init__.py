"""How ranks are started, found and ended."""
