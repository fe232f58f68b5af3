"""How a command ends, by its exit status."""

OK, SOME_UNREADABLE, USAGE, FAULT = 0, 1, 2, 3
SOME_REFUSED = SOMETHING_WRONG = 1
INTERRUPTED = 130
