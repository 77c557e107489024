"""The inspector: pages for people at ``/_control/``, rendered here and usable without JavaScript.

Whatever they show was written by others. Templates escape it, texts.py hides tokens and makes
visible what would otherwise change the look of a text, and the policy in rendering.py lets a page
load nothing but its own style and script.
"""
