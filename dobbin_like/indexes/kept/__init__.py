"""What a commit needs of indexes: keys in order, the catalog, and how entries are kept.

Knows no transactions: these stand above, and say when.
"""
