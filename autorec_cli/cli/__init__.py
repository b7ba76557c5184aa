"""The command line: options, messages, output."""

import os

# Read once, when numpy is loaded. For the 2 MiB pages that numpy asks for, Linux may have to compact memory first,
# which takes a tenth of the time to prepare 20 million ratings. Training gains nothing from such pages.
os.environ.setdefault("NUMPY_MADVISE_HUGEPAGE", "0")
