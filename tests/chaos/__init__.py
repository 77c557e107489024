"""chatsync on a platform like production, while everything fails that can.

``python -m tests.chaos`` runs the deployed functions as production does, one process per instance,
on the real Auth, Firestore and Tasks emulators and the local Stream server. It signs people up,
changes and deletes them, with Stream failing, down and limited, processes dying, and events late,
twice and out of order. Then the faults end, and everybody must be where they belong, without any
manual step. ``make chaos`` runs it, and then thousands of sign-ups at once.
"""
