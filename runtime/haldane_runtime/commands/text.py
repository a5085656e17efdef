"""Facts as text for a terminal. Pure."""

from collections.abc import Sequence

from haldane_runtime.core.types import TensorSpec

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def facts(rows: Sequence[tuple[str, str]]) -> str:
    """Names at the left, what there is to say of them beside; a name may be empty to go on with the last."""
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name:{width}}  {text}".rstrip() for name, text in rows)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns that end at the same place, as numbers want it."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)) for line in lines)


def size(count: float) -> str:
    """Bytes in the largest unit of which there is at least one."""
    unit = 0
    while count >= 1024 and unit < len(_UNITS) - 1:
        count /= 1024
        unit += 1
    return f"{count:.0f} {_UNITS[0]}" if unit == 0 else f"{count:.1f} {_UNITS[unit]}"


def milliseconds(seconds: float) -> str:
    """Three significant digits."""
    value = seconds * 1000
    return (
        f"{value:.3f}"
        if value < 1
        else f"{value:.2f}"
        if value < 10
        else f"{value:.1f}"
        if value < 100
        else f"{value:.0f}"
    )


def shape(spec: TensorSpec) -> str:
    """Names of symbolic dimensions as the model has them, -1 for those without."""
    dims = [str(dim) if dim != "" else "-1" for dim in spec.shape]
    return f"[{', '.join(dims)}]" if dims else "a scalar, or of unknown rank"


def counted(count: int, what: str) -> str:
    """A number and its noun, in the plural where it needs one."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
