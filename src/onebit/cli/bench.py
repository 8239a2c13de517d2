"""``onebit bench``: a packed network against torch's float network of the same shape, timed in one run."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onebit.cli.base import Failure, add_max_memory, add_packed_file, max_memory_of, packed_file_of, verb_parser
from onebit.text import printable

if TYPE_CHECKING:
    from jsonargparse import Namespace
    from numpy.typing import NDArray

    from onebit.runtime.model import Model

MAX_BATCH_BYTES = 1 << 30  # of the images of one call, and of what comes out, as floats
MAX_TWIN_PARAMETERS = 1 << 29  # of the float network: 2 GiB


def parse(argv: list[str]) -> "Namespace":
    """Read the command line."""
    from jsonargparse import Namespace

    parser = verb_parser(
        "bench",
        "Measure the latency of a packed network and, if torch is installed, of the float network of the same "
        "architecture (channels_last, inference mode, same threads), alternating; print medians and their ratio.",
        "onebit bench net.onebit --threads 1 --batch 1",
    )
    add_packed_file(parser)
    parser.add_argument("--threads", type=int, default=1, help="threads of both networks")
    parser.add_argument("--batch", type=int, default=1, help="images per call")
    parser.add_argument("--seconds", type=float, default=3.0, help="duration of the measurement")
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
    for name in ("threads", "batch"):
        if getattr(args, name) < 1:
            raise ValueError(f"--{name} must be at least 1, got {getattr(args, name)}")
    if args.plot is not None and not args.plot.endswith(".png"):
        raise ValueError(f"--plot must name a file that ends with .png, got {args.plot!r}")
    return args


def run(args: "Namespace") -> dict[str, Any]:
    """{file, machine, threads, batch, packed, torch_float, ratio, why_no_float}; times in milliseconds.

    With ``--profile`` or ``--plot`` also profile and profile_sums, with ``--cold`` cold, in seconds and bytes.
    """
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
    work = {"packed": lambda: model(given)}
    twin, why = float_twin(model, images, args.threads)
    if twin is not None:
        work["torch_float"] = twin
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


def float_twin(model: "Model", images: "NDArray[Any]", threads: int) -> tuple[Any, str]:
    """A call of the float network of the same architecture on ``images`` (N, H, W, C), or None and the reason.

    The provenance of a file is untrusted.  The network is first built on the meta device, and used only if its outputs
    have the shape of those of the packed network.
    """
    provenance = model.graph.provenance
    name, options = provenance.get("model"), provenance.get("model_options", {})
    if not isinstance(name, str):
        return None, "the file does not name its model of the zoo"
    try:
        import torch

        from onebit.models import MODELS
    except ModuleNotFoundError:
        return None, 'torch is not installed: pip install "onebit[train]"'
    if name not in MODELS:
        return None, f"model {name!r} is not in the zoo"
    x_BCHW = torch.from_numpy(images).permute(0, 3, 1, 2)  # NHWC in memory: channels_last as it is
    sizes = {key: provenance[key] for key in ("num_classes",) if key in provenance}  # older files have it
    arguments = {"in_channels": images.shape[3], **sizes}
    shape = model.engine.output_shape
    try:
        with torch.device("meta"):
            ghost = MODELS[name](scheme="float", **{**arguments, **options}).eval()
        gives = tuple(ghost(x_BCHW[:1].to("meta")).flatten(1).shape)
    except Exception as error:
        return None, f"the model {name!r} that the file names cannot be built with its options: {error}"
    parameters = sum(parameter.numel() for parameter in ghost.parameters())
    if gives != (1, math.prod(shape)) or parameters > MAX_TWIN_PARAMETERS:
        return None, f"the model {name!r} that the file names is another network with its options"
    torch.set_num_threads(threads)
    network = MODELS[name](scheme="float", **{**arguments, **options}).eval()
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def call() -> object:
        with torch.inference_mode():
            return network(x_BCHW)

    return call, ""


def show(result: dict[str, Any]) -> None:
    """Print latencies and their ratio, and, if requested, the cold start and the profile."""
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
