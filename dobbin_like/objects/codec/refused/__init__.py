"""Values that can not be stored: which one it is, and what to store instead."""
