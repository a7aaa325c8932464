"""The one exception that command lines turn into a single line; whatever else goes wrong keeps its
traceback."""


class UserError(ValueError):
    """A setting, a file or an argument that cannot be used: the message names it, its value, and
    what to do."""
