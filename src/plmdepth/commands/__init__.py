"""The edge: command lines and configuration become objects here, and errors become exit codes."""
