"""Testing of what uses the store: threads in a fixed order, and a simulated machine.

``Steps`` puts blocks of several threads into an order, and ``in_thread()`` runs a function in a
thread of its own: for conflicts and snapshots of your own classes. The rest is for storages. Code
that writes to files is run as it is; its system calls go to a machine in memory::

    from random import Random
    from dobbin_like.testing import Machine, Process, Schedule, simulated

    machine = Machine(random=Random(seed))
    with simulated(machine, packages=["my_storage"]):
        schedule = Schedule(machine, Random(seed))
        for _ in range(2):
            schedule.spawn(Process(machine), commit_something)
        schedule.run()  # they take turns at every system call
        left = machine.disk.image(Random(seed))  # what a power cut may leave

A seed tells all that happens, so that what was found is found again. From the ground up:

* ``steps``: the order of blocks;
* ``disk``: the page cache and the device of each file, and what a power cut leaves;
* ``faults``: what is injected, and what is found;
* ``schedule``, ``system``: threads that take turns, processes with open files and locks;
* ``standins``, ``patching``: what stands for the modules of the system, and how it comes there;
* ``model``: what a storage has promised, by its contract;
* ``instance``, ``program``, ``judge``, ``simulation``: :func:`simulate`, which tests the log of
  this package;
* ``mutation``: small mutations of the code, to see that such tests find them.
"""

from typing import TYPE_CHECKING

from dobbin_like.late import late_names

if TYPE_CHECKING:
    from dobbin_like.testing.disk import Disk, SimulatedFile
    from dobbin_like.testing.faults import FoundFault, Injected, Killed
    from dobbin_like.testing.model import Model
    from dobbin_like.testing.mutation import Mutant, mutated
    from dobbin_like.testing.patching import simulated
    from dobbin_like.testing.schedule import Schedule, Task
    from dobbin_like.testing.simulation import KINDS, Outcome, kinds_of, simulate
    from dobbin_like.testing.steps import StepNeverCame, Steps, in_thread
    from dobbin_like.testing.system import Machine, Process, active

__all__ = [
    "KINDS",
    "Disk",
    "FoundFault",
    "Injected",
    "Killed",
    "Machine",
    "Model",
    "Mutant",
    "Outcome",
    "Process",
    "Schedule",
    "SimulatedFile",
    "StepNeverCame",
    "Steps",
    "Task",
    "active",
    "in_thread",
    "kinds_of",
    "mutated",
    "simulate",
    "simulated",
]

if not TYPE_CHECKING:  # Else type checkers would find no misspelt name.
    __getattr__ = late_names(
        __name__,
        {
            "Disk": "testing.disk",
            "FoundFault": "testing.faults",
            "Injected": "testing.faults",
            "KINDS": "testing.simulation",
            "Killed": "testing.faults",
            "Machine": "testing.system",
            "Model": "testing.model",
            "Mutant": "testing.mutation",
            "Outcome": "testing.simulation",
            "Process": "testing.system",
            "Schedule": "testing.schedule",
            "SimulatedFile": "testing.disk",
            "StepNeverCame": "testing.steps",
            "Steps": "testing.steps",
            "Task": "testing.schedule",
            "active": "testing.system",
            "in_thread": "testing.steps",
            "kinds_of": "testing.simulation",
            "mutated": "testing.mutation",
            "simulate": "testing.simulation",
            "simulated": "testing.patching",
        },
    )
