"""The cases of proto/vectors/, one module a kind. Each has `cases()`, which makes them, and `run(case)`, which holds the
reference against one: it returns when the case is taken and raises Refused when it is refused."""
