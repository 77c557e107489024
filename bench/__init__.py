"""Measurements of chatsync on the emulators and the local Stream server."""
