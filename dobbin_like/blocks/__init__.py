"""What a program writes around its changes: blocks, and functions that are run again.

Read ``block``, then ``again``.
"""
