"""What programs give and mean otherwise: it is refused where it is given, with what to do.

``arguments`` of a wrong type, ``paths`` that are URIs or files of others, and ``attributes`` of
what holds none.
"""
