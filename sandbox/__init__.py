"""What a newcomer plays against: each folder is a process of its own.

Nothing in ``affiliate``, ``payouts`` or ``tracker`` imports from here; the programs talk HTTP.
"""
