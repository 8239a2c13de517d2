"""The main job, end to end, on the digits that come with scikit-learn: train, pack, verify, time, run.

Every step is the command that a user would type; this script only prints it, runs it, and puts the numbers into a
table.

    make demo        or        python examples/demo.py [--out runs/demo]
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def onebit(*arguments: str) -> dict[str, Any]:
    """Run ``onebit ARGUMENTS --json``, progress shown; its result, or exit with its exit code."""
    print(f"\n$ onebit {' '.join(arguments)}", flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "onebit.cli.main", *arguments, "--json"], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.returncode)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def save_digit(path: Path) -> int:
    """Write the first test digit, scaled as the network takes it, as a PNG; return which digit it is."""
    import torch
    from PIL import Image

    from onebit.data import DATASETS

    images_NCHW, labels_N = DATASETS["digits"](None, 16).test.batch(torch.tensor([0]))
    Image.fromarray(images_NCHW[0, 0].numpy()).save(path)
    return int(labels_N[0])


def main() -> None:
    """Do it all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder for the results; emptied first")
    out: Path = parser.parse_args().out
    start = time.time()
    for run in ("1bit", "float"):
        shutil.rmtree(out / run, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    packed_file = out / "digits.onebit"

    binary = onebit("train", "vgg-small-digits", "--out", str(out / "1bit"))
    real = onebit("train", "vgg-small-digits", "--scheme", "float", "--out", str(out / "float"))
    packed = onebit("pack", str(out / "1bit"), "--out", str(packed_file), "--strict")
    print(packed["table"])
    parity = onebit("verify", str(packed_file), "--run", str(out / "1bit"))
    speed = onebit("bench", str(packed_file))
    digit = save_digit(out / "digit.png")
    answer = onebit("run", str(packed_file), str(out / "digit.png"), "--top", "3")
    print(
        f"a picture of a {digit}: "
        + ", ".join(f"{c['class']} {c['probability']:.1%}" for c in answer["images"][0]["classes"])
    )

    float_bytes = (out / "float" / "model.safetensors").stat().st_size
    check = parity["torch"]
    rows = [
        ("", "float (torch)", "1-bit (packed)", ""),
        (
            "test accuracy",
            f"{real['accuracy']:.2%}",
            f"{check['scores']['packed']['accuracy']:.2%}",
            f"trained: {binary['accuracy']:.2%}",
        ),
        (
            "file",
            f"{float_bytes:,} B",
            f"{packed['total']['file_bytes']:,} B",
            f"{float_bytes / packed['total']['file_bytes']:.1f}x smaller",
        ),
        (
            "one image, one thread",
            f"{speed['torch_float']['median_ms']:.3f} ms",
            f"{speed['packed']['median_ms']:.3f} ms",
            f"{speed['ratio']:.1f}x faster",
        ),
        (
            "same class as torch",
            "",
            f"{check['same']} of {check['images']}",
            "parity " + ("holds" if parity["passed"] else "FAILED"),
        ),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    print(f"\n{speed['machine']}")
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    print(f"\n{time.time() - start:.0f} s in all; everything lies in {out}; the curve is {out / '1bit' / 'curve.png'}")


if __name__ == "__main__":
    main()
