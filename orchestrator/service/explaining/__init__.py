"""Why an execution and its tasks stand as they do: ``explain`` reads a case once, the others find the reasons."""
