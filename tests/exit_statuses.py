"""Every exit status and a command line that ends with it."""

from __future__ import annotations

import sys

TRAIN = "autorec train data -o m.model --epochs 100000 --patience 0 --hidden-size 2 --threads 1 -q"
BUG = (
    "from autorec_cli.cli import main; from autorec_cli.inference.files import model_file; "
    "model_file.load_model = lambda path: 1 / 0; main.main()"
)
FREE_PORT = f'"{sys.executable}" -c "import socket; s = socket.create_server((str(), 0)); print(s.getsockname()[1])"'

COMMAND_LINES = {
    0: "autorec recommend item.model --user 007",
    1: f'"{sys.executable}" -c "{BUG}" recommend item.model',
    2: "autorec recommend item.model --no-such-option",
    3: "autorec prepare no-such-file.csv -o new",
    4: "autorec recommend ratings.csv",
    5: "autorec train data -o m.model --epochs 2 --learning-rate 1e20 --regularization 0",
    6: "autorec train data -o m.model --hidden-size 1000000000000",
    7: f"{TRAIN} & while [ ! -s .m.model.lock ]; do sleep 0.1; done; {TRAIN}; status=$?; kill $!; wait; exit $status",
    8: "autorec evaluate item.model --fail-above rmse=0.0001",
    9: f"export TORCHELASTIC_RUN_ID=t WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=$({FREE_PORT}); "
    f"RANK=1 {TRAIN} --save-every 0 & other=$!; "
    "(until [ -e m.model.resume.1-of-2 ] && [ -e m.model.resume.2-of-2 ]; do sleep 0.1; done; kill -9 $other) & "
    f"RANK=0 {TRAIN} --save-every 0",
    **dict.fromkeys((129, 130, 138, 140, 143, 152), f"exec {TRAIN}"),
    141: "set -o pipefail; autorec recommend item.model -k 50 --include-seen | head -n 1",
}
"""Status -> a command line of bash that ends with it; those of signals run until they get one."""
