"""What each command does: the rooms in turn, with progress and a clear end."""
