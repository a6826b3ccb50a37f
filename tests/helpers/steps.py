"""The order of blocks of several threads: that which the package offers to its users."""

from dobbin_like.testing.steps import TIMEOUT_SECONDS, StepNeverCame, Steps, in_thread

__all__ = ["TIMEOUT_SECONDS", "StepNeverCame", "Steps", "in_thread"]
