"""``onebit bench``: a packed network against the float and int8 networks of the same architecture, timed in one run."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onebit.cli.base import Failure, add_max_memory, add_packed_file, max_memory_of, packed_file_of, verb_parser
from onebit.text import printable, text_table

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from onebit.format.graph import Graph
    from onebit.runtime.model import Model

MAX_BATCH_BYTES = 1 << 30  # of the images of one call, and of what comes out, as floats
AGAINST = ("float", "int8")

DESCRIPTION = """\
Measure the latency of a packed network and, if torch is installed, of the float network of the same architecture
(channels_last, inference mode, same threads), alternating; print medians and their ratio.

With --against, measure the network in 1 bit, in float32 (PyTorch, OpenVINO, ONNX Runtime) and in int8 (OpenVINO, ONNX
Runtime; quantized after training): accuracy on test images, latency with one thread and with --threads, bytes of the
file, cold start and peak memory of a new process.  FILE may then be the folder of a run.  --against float=RUN names the
run that trained the float network: the same recipe with --scheme float.  Without it, float32 and int8 have random
weights, and no accuracy.  The other engines: pip install "onebit[bench]"."""


def parse(argv: list[str]) -> "Namespace":
    """Read the command line."""
    from jsonargparse import Namespace

    parser = verb_parser(
        "bench",
        DESCRIPTION,
        "onebit bench net.onebit --threads 1 --batch 1\n"
        "  onebit bench net.onebit --against int8,float=runs/float --data_dir DATA --threads 2",
    )
    add_packed_file(parser)
    parser.add_argument("--threads", type=int, default=1, help="threads of all networks")
    parser.add_argument("--batch", type=int, default=1, help="images per call")
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="duration of the measurement; with --against, of each row"
    )
    parser.add_argument(
        "--against",
        type=str,
        metavar="SIDES",
        help="compare with float, int8 or both, separated by a comma; float=RUN names the run of the float network",
    )
    parser.add_argument(
        "--data_dir",
        type=str,
        help="folder of the data set, for the accuracies of --against (default: the environment's ONEBIT_DATA)",
    )
    parser.add_argument("--limit", type=int, help="measure the accuracies of --against on so many test images only")
    parser.add_argument("--profile", action="store_true", help="also print the latency of every layer and its limit")
    parser.add_argument("--plot", type=str, help="plot the profile to this PNG")
    parser.add_argument(
        "--cold", action="store_true", help="also measure the cold start: new processes up to their first answer"
    )
    add_max_memory(parser)
    args = parser.parse_args(argv)
    assert isinstance(args, Namespace)
    args.file = packed_file_of(args)
    args.max_memory = max_memory_of(args)
    if not 0 < args.seconds < math.inf:
        raise ValueError(f"--seconds must be a number above 0, got {args.seconds}")
    for name in ("threads", "batch", "limit"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise ValueError(f"--{name} must be at least 1, got {getattr(args, name)}")
    if args.plot is not None and not args.plot.endswith(".png"):
        raise ValueError(f"--plot must name a file that ends with .png, got {args.plot!r}")
    args.sides, args.float_run = sides_of(args.against)
    for name, allowed in (("data_dir", True), ("limit", True), ("profile", False), ("plot", False), ("cold", False)):
        if getattr(args, name) and bool(args.sides) != allowed:
            hint = "is for --against" if allowed else "cannot be combined with --against; measure it without"
            raise ValueError(f"--{name} {hint}")
    return args


def sides_of(against: str | None) -> tuple[tuple[str, ...], str | None]:
    """("float", "int8") and the float run from "int8,float=RUN"; ValueError says what is allowed."""
    if against is None:
        return (), None
    runs: dict[str, str | None] = {}
    for part in against.split(","):
        name, equals, run = part.partition("=")
        if name not in AGAINST or name in runs or (equals and (name != "float" or not run)):
            raise ValueError(
                f"--against takes float, int8 or both, separated by a comma, float also as float=RUN; got {against!r}"
            )
        runs[name] = run or None
    return tuple(runs), runs.get("float")


def run(args: "Namespace") -> dict[str, Any]:
    """{file, machine, threads, batch, packed, torch_float, ratio, why_no_float}; times in milliseconds.

    With ``--profile`` or ``--plot`` also profile and profile_sums, with ``--cold`` cold, in seconds and bytes.  With
    ``--against`` {file, against} and what :func:`onebit.engines.against.compare` returns.
    """
    if args.sides:
        return compared(args)
    if Path(args.file).is_dir():
        raise Failure(f"{args.file!r} is a folder; pack the run in it ('onebit pack {args.file}') or give --against")
    from dataclasses import asdict, replace

    import numpy as np

    from onebit.format.graph import PIXELS
    from onebit.runtime.cold import ONEBIT, cold_start
    from onebit.runtime.cpu import describe
    from onebit.runtime.model import load
    from onebit.runtime.timing import time_in_turn

    model = load(args.file, threads=args.threads, max_memory=args.max_memory)
    check_batch(args.batch, model)
    spec = model.input
    rng = np.random.default_rng(0)
    images = rng.standard_normal((args.batch, spec.height, spec.width, spec.channels), np.float32)
    given = rng.integers(0, 256, images.shape, dtype=np.uint8) if spec.type == PIXELS else images
    work: dict[str, Any] = {"packed": lambda: model(given)}
    try:
        from onebit.engines import prepare
        from onebit.engines.twin import float_twin
    except ModuleNotFoundError:
        twin, why = None, 'torch is not installed: pip install "onebit[train]"'
    else:
        twin, why = float_twin(model)
        if twin is not None:
            image_BCHW = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
            work["torch_float"] = prepare("torch", twin, image_BCHW, threads=args.threads, numbers="fp32").run
    timings = time_in_turn(work, seconds=args.seconds, stay=0.1)
    result: dict[str, Any] = {"file": args.file, "machine": describe(), "threads": args.threads, "batch": args.batch}
    for name, timing in timings.items():
        result[name] = {"median_ms": timing.median * 1e3, "p90_ms": timing.p90 * 1e3, "count": timing.count}
    if twin is not None:
        result["ratio"] = timings["torch_float"].median / timings["packed"].median
    else:
        result["why_no_float"] = why
    if args.profile or args.plot:
        profile = model.profile(given)
        result |= {"isa": model.isa, "profile": list(profile), "profile_sums": profile.sums()}
    if args.plot:
        draw(result, args.plot)
    if args.cold:
        load_it = f"model = onebit.load(path, threads=threads, max_memory={args.max_memory})"
        result["cold"] = asdict(cold_start(args.file, threads=args.threads, steps=replace(ONEBIT, load=load_it)))
    return result


def compared(args: "Namespace") -> dict[str, Any]:
    """The comparison of ``--against``."""
    import sys

    from onebit.engines.against import compare
    from onebit.runtime.model import Model

    graph = packed_graph(args.file)
    check_batch(args.batch, Model(graph, max_memory=args.max_memory))
    found = compare(
        graph,
        sides=args.sides,
        float_run=args.float_run,
        data_dir=None if args.data_dir is None else Path(args.data_dir),
        limit=args.limit,
        threads=args.threads,
        batch=args.batch,
        seconds=args.seconds,
        max_memory=args.max_memory,
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )
    return {"file": args.file, "against": list(args.sides), **found}


def packed_graph(path: str) -> "Graph":
    """The network in a packed file, or packed from the folder of a run or one of its checkpoints."""
    if Path(path).is_dir() or path.endswith(".ckpt"):
        from onebit.train.deploy import pack_trained

        return pack_trained(path).graph
    from onebit.format.file import load_graph

    return load_graph(path)


def draw(result: dict[str, Any], path: str) -> None:
    """Write a plot of the profile to ``path``."""
    from onebit.files import write_atomic

    try:
        from onebit.report.profile import profile_png
    except ModuleNotFoundError as error:
        raise Failure(f'--plot needs {error.name}, which is not installed: pip install "onebit[train]"') from None
    total = result["profile_sums"][-1]["ms"]
    name, isa, threads, batch = Path(result["file"]).name, result["isa"], result["threads"], result["batch"]
    title = f"{name}: {total:.3f} ms on {isa}, {threads} thread(s), batch {batch}"
    write_atomic(path, profile_png(result["profile"], title))


def check_batch(batch: int, model: "Model") -> None:
    """Raise Failure if the images of one call, or the outputs, would exceed ``MAX_BATCH_BYTES`` as floats."""
    spec, out = model.input, model.engine.output_shape
    floats = max(spec.height * spec.width * spec.channels, math.prod(out))
    if 4 * floats * batch > MAX_BATCH_BYTES:
        raise Failure(
            f"--batch {batch}: images or outputs would take {4 * floats * batch / 2**30:.1f} GiB; "
            f"this network allows {max(1, MAX_BATCH_BYTES // (4 * floats))}"
        )


def show(result: dict[str, Any]) -> None:
    """Print latencies and their ratio, and, if requested, the cold start and the profile; or the comparison."""
    if "rows" in result:
        show_comparison(result)
        return
    print(f"{result['machine']}, {result['threads']} thread(s), batch {result['batch']}")
    for name in ("packed", "torch_float"):
        if name in result:
            row = result[name]
            print(f"{name:<12} {row['median_ms']:9.3f} ms  (90%: {row['p90_ms']:.3f} ms, {row['count']} calls)")
    print(
        f"ratio        {result['ratio']:9.1f} x"
        if "ratio" in result
        else f"no float side: {printable(result['why_no_float'])}"
    )
    if "cold" in result:
        row = result["cold"]
        steps = ", ".join(f"{step} {row[f'{step}_seconds']:.3f}" for step in ("import", "load", "answer"))
        peak = "" if row["peak_bytes"] is None else f"; {row['peak_bytes'] / 1e6:.1f} MB at most"
        print(
            f"cold start   {row['seconds']:9.3f} s   from a fresh process to the first answer "
            f"({steps}; CPU {row['cpu_seconds']:.3f} s{peak}; {row['count']} times)"
        )
    if "profile" in result:
        from onebit.runtime.profile import Profile

        print(f"\n{Profile(result['profile'])}")


def show_comparison(result: dict[str, Any]) -> None:
    """Print the table of ``--against``, and below it what was not measured, and why."""
    counts = list(dict.fromkeys((1, result["threads"])))
    measured = [row for row in result["rows"] if "skipped" not in row]
    scored = next((row["scores"] for row in measured if row["scores"]), None)
    has_energy = any(row["energy_mj"] is not None for row in measured)
    header = ["engine", "numbers", *([scored["score"]] if scored else [])]
    header += [f"{count} thread{'s' if count > 1 else ''}: least, median" for count in counts]
    header += ["file", "peak memory", "cold start", *(["energy per image"] if has_energy else [])]
    images = f", {scored['images']} test images of {printable(result['dataset'])}" if scored else ""
    print(f"{result['machine']}, batch {result['batch']}{images}")
    print(text_table([_cells(row, bool(scored), has_energy) for row in measured], header=header))
    for row in result["rows"]:
        if "skipped" in row:
            print(f"{row['engine']}, {row['numbers']}: not measured: {printable(row['skipped'], limit=500)}")
        elif row.get("cold_failed"):
            print(f"{row['engine']}, {row['numbers']}: no cold start: {printable(row['cold_failed'])}")
    for note in result["notes"]:
        print(printable(note, limit=500))


def _cells(row: dict[str, Any], has_scores: bool, has_energy: bool) -> list[str]:
    from onebit.tasks import TASKS

    cells = [row["engine"], row["numbers"]]
    if has_scores:
        scores = row["scores"]
        cells.append("-" if scores is None else TASKS[scores["task"]].metric().text(scores[scores["score"]]))
    cells += [f"{each['fastest_ms']:.3f}, {each['median_ms']:.3f} ms" for each in row["latency"]]
    cold = row["cold"] or {"peak_bytes": None}
    cells.append("-" if row["file_bytes"] is None else f"{row['file_bytes'] / 1e6:.3f} MB")
    cells.append("-" if cold["peak_bytes"] is None else f"{cold['peak_bytes'] / 1e6:.0f} MB")
    cells.append(f"{cold['seconds']:.2f} s" if row["cold"] else "-")
    if has_energy:
        cells.append(f"{row['energy_mj']:.3f} mJ")
    return cells
