"""What more than one file of tests uses, by what it does.

Test modules import from here and never from each other.
"""
