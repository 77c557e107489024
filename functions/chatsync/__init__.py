"""Keeps Firebase Auth, Firestore and Stream Chat in agreement about who exists and who talks where.

One repair, many doors: each entry point of ``main`` calls one function of this package, and
whatever concerns users ends in :func:`chatsync.reconcile.reconcile_users`.
"""
