"""Keeps Firebase Auth, Firestore and Stream Chat in agreement about who exists and who talks where.

Each entry point of ``main`` calls one function of this package. All repairs of users end in
:func:`chatsync.reconcile.reconcile_users`.
"""

__version__ = "0.1.0"
