"""The command ``explain``: ``reading`` reads all sides, the others tell what is wrong."""
