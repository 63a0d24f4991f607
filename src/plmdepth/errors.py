"""The one exception that stands for a user's mistake."""


class InputError(Exception):
    """Wrong input. Its message is one line that says what is wrong and what to do; the command exits with code 2."""
