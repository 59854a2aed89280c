"""The built-in task types, one module a subject. Importing the package registers them all."""
