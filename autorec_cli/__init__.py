"""autorec: turn a file of ratings into a recommender with AutoRec (Sedhain et al., WWW 2015)."""

import logging
import os

__version__ = "0.1.0"

# Read once, when torch is loaded, wherever that is. Threads that wait for each other must not spin: beside another busy
# process that costs a factor of ten.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Silent as a library; the command line, or whoever calls us, adds a handler that shows the log.
logging.getLogger(__name__).addHandler(logging.NullHandler())
