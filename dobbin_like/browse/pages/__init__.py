"""The pages: each module makes some from an :class:`.ask.Ask`; :mod:`.frame` is around them."""
