"""Programs that type checkers read and nothing runs: see ``.ci/run``."""
