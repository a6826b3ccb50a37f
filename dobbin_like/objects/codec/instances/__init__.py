"""How instances of classes are made of what a state has of them."""
