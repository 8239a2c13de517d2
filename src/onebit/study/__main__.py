"""``python -m onebit.study WORK.json``: the process of one run."""

import sys

from onebit.study.worker import main

sys.exit(main())
