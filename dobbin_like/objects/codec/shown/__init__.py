"""Large states to be looked at: only what is shown of them is built."""
