import re

from autorec_cli import errors


def test_the_docstring_draws_the_error_tree_with_its_exit_statuses():
    drawn = dict(re.findall(r"(\w+Error) +(\d+)", errors.__doc__))
    tree = [errors.AutoRecError, *errors.AutoRecError.__subclasses__()]
    assert drawn == {error.__name__: str(error.exit_status) for error in tree}
    assert f"{errors.EXIT_INTERRUPTED}, {errors.EXIT_TERMINATED}" in errors.__doc__
