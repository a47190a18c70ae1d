"""The five demo objects, one module each with a `build()` that returns a `Model`."""
