"""The record of a run as a page of Markdown tables."""


def number(value):
    """Three digits, and thousands with commas."""
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def ratio(value):
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


class Notes:
    """Reasons by number, each once."""

    def __init__(self):
        self.texts = []

    def mark(self, text):
        if text not in self.texts:
            self.texts.append(text)
        return f"[{self.texts.index(text) + 1}]"


def row(cells):
    return "| " + " | ".join(cells) + " |"


def fastest(cells, size, names):
    """(name, ms) of the fastest of them that has right results at this size, or None."""
    times = [(cells[name, *size]["ms"], name) for name in names
             if "ms" in cells.get((name, *size), {}) and "wrong" not in cells[name, *size]]
    return min(times)[::-1] if times else None


def table(record, workload):
    """One line per peer, one column per size, then ratios of the fastest peers."""
    cells = {(c["peer"], c["what"], c["batch"]): c for c in record["cells"] if c["workload"] == workload}
    sizes = [("sample", batch) for batch in record["batches"]]
    sizes += [("train", record["settings"]["train_batch"])] if record["train"] else []
    titles = [f"batch {batch:,}" if what == "sample" else f"training step, {batch}" for what, batch in sizes]
    notes = Notes()
    lines = [row(["ms (ratio to advect)", *titles]), row(["---", *["---:"] * len(sizes)])]
    ours = {size: cells.get(("advect", *size), {}).get("ms") for size in sizes}
    for name in record["order"]:
        line = [name]
        for size in sizes:
            cell = cells.get((name, *size), {})
            if "ms" not in cell:
                line.append(f"- {notes.mark(cell['reason'])}" if "reason" in cell else "")
                continue
            text = number(cell["ms"])
            if name != "advect" and ours[size]:
                text += f" ({ratio(cell['ms'] / ours[size])})"
            line.append(f"{text} {notes.mark(cell['wrong'])}" if "wrong" in cell else text)
        lines.append(row(line))
    others = [name for name in record["order"] if name != "advect"]
    groups = [("the fastest of PyTorch over advect", [n for n in others if n.startswith("torch")]),
              ("the fastest peer over advect", others)]
    for title, names in groups:
        line = [f"**{title}**"]
        for size in sizes:
            best = fastest(cells, size, names)
            line.append(f"**{ratio(best[1] / ours[size])}** {best[0]}" if best and ours[size] else "-")
        lines.append(row(line))
    text = "\n".join(lines)
    if notes.texts:
        text += "\n\n" + "  \n".join(f"[{i}] {text}" for i, text in enumerate(notes.texts, 1))
    differences = [(c["difference"], c["peer"], c["batch"]) for c in cells.values()
                   if c.get("difference") is not None and c["peer"] != "torch-eager"]
    if differences:
        most, name, batch = max(differences)
        text += f"\n\nLargest relative L2 difference from eager PyTorch's output: {most:.1e} ({name}, batch {batch:,})."
    return text


def page(record):
    """The whole page."""
    settings, busiest = record["settings"], record["busiest_waiting"]
    limit = "none" if settings["limit"] is None else f"{settings['limit']:g} s"
    lines = [
        f"# {record['date']}: peers, {record['target']}",
        "",
        f"`{record['command']}`: {settings['solver'].replace(':', ', ')} steps, float32, the same weights, noise and "
        f"observations for all. {record['processor']}, {record['processors']} processors, threads: {record['threads']}, "
        f"{record['system']}, Python {record['python']}; load average {record['load_average_at_start']:.2f} at the start"
        + (f", {record['load_average_at_end']:.2f} at the end" if "load_average_at_end" in record else "") + ".",
        "",
        f"Milliseconds are medians of {settings['rounds']} interleaved rounds (fewer of heavy work); a ratio is the peer's time over "
        f"advect's: above 1, advect is faster. Sampling starts from given noise; a training step is of batch {settings['train_batch']}. "
        f"Limit of one run: {limit}. A waiting peer took at most {100 * busiest['share']:.1f} % of one processor"
        + (f" ({busiest['peer']})." if busiest["peer"] else ".") + ("" if record["complete"] else " **The run was not finished.**"),
        "",
        row(["peer", "version", "device"]), row(["---", "---", "---"]),
        *(row([name, *(record["peers"].get(name, {}).get(key, "-") for key in ("version", "device"))]) for name in record["order"]),
    ]
    if record["absent"]:
        lines += ["", f"Not in this run: {', '.join(record['absent'])}."]
    for workload, facts in record["workloads"].items():
        work = f"{facts['parameters']:,} parameters, {number(facts['operations'] / 1e6)} million operations an evaluation of one chunk."
        lines += ["", f"## {workload}", "", work, "", table(record, workload)]
    return "\n".join(lines) + "\n"
