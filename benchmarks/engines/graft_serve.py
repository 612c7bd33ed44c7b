"""`graft serve`. Start: `python graft_serve.py PORT`."""

from __future__ import annotations

import os
import sys

from network import QUEUE

from app.cli import graft

if __name__ == "__main__":
    words = [os.environ["ENGINES_EXPORT"], "--port", sys.argv[1], "--grpc-port", "0"]
    sys.argv[1:] = ["serve", *words, "--queue", str(QUEUE), "--deadline", "30"]
    graft()
