"""From a failure to its cause: source lines, diverging operations, remedies."""
