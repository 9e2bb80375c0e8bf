"""The `steerwright` command. Each command is a file; what it needs is imported when it runs."""
