"""How a persistent class is made of what a program writes, and its faces of it.

``metaclass.py`` takes the class and makes its instances, ``faces.py`` generates what stands beside
it; ``declaration.py`` refuses what can't be kept, ``methods.py`` and ``cached.py`` adapt what is
in the class.
"""
