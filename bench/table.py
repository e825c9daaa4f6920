"""Medians, ratios and geometric means, as text and as CSV."""
import csv
import math
import statistics

import peers

UNITS = {"cpu": "ns", "wall": "ns", "KiB": "KiB", "x": "x", "peak": "KiB"}


def unit(row, metric):
    return "ms" if row.group == "program" and metric in ("cpu", "wall") else UNITS[metric]


def number(value):
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def medians(samples, row, metric, names):
    by_allocator = samples.get((row.name, metric), {})
    return {n: statistics.median(by_allocator[n]) if by_allocator.get(n) else None for n in names}


def ratios(medians_, who):
    """(who / best of the other peers, who / glibc); None where a figure is missing."""
    rivals = [v for n, v in medians_.items() if n not in (who, peers.QUARRY) and v]
    mine, glibc = medians_.get(who), medians_.get("glibc")
    return (mine / min(rivals) if mine and rivals else None), (mine / glibc if mine and glibc else None)


def section(title, chosen, samples, names, metric_of):
    who = peers.QUARRY if peers.QUARRY in names else None
    heads = names + ([f"{who}/best", f"{who}/glibc"] if who else [])
    print(f"\n{title}")
    print(f"{'row':24}{'unit':>5} " + "".join(f"{h:>14}" for h in heads))
    ranked = []
    for row in chosen:
        found = medians(samples, row, metric_of(row), names)
        if not any(found.values()):
            continue
        extra = list(ratios(found, who)) if who else []
        label = row.name + (" *" if row.floor else "")
        print(f"{label:24}{unit(row, metric_of(row)):>5} " + "".join(f"{number(v):>14}" for v in list(found.values()) + extra))
        if not row.floor:
            ranked.append((row.group, found))
    summary(ranked, names, who)


def summary(ranked, names, who):
    """Geometric means over the rows in which every allocator has a figure."""
    whole = [(g, f) for g, f in ranked if all(f.values())]
    if not whole:
        return
    groups = list(dict.fromkeys(g for g, _ in whole))
    print(f"geometric means, to glibc, {len(whole)} rows")
    for group in groups + ([None] if len(groups) > 1 else []):
        rows = [f for g, f in whole if group in (None, g)]
        means = [geometric_mean([f[n] / f["glibc"] for f in rows]) if "glibc" in names else None for n in names]
        if who:
            means += [geometric_mean([ratios(f, who)[0] for f in rows]), means[-1]]
        print(f"  {group or 'all':22}{'x':>5} " + "".join(f"{number(m):>14}" for m in means))


def show(chosen, samples, names):
    timed = [r for r in chosen if r.metric != "KiB"]
    kept = [r for r in chosen if r.metric == "KiB"]
    if timed:
        section("Time: ns per operation (CPU on one core, wall with threads), ms of CPU for programs (* floor, not ranked)",
                timed, samples, names, lambda row: row.metric)
    if kept:
        section("Memory that stays after freeing", kept, samples, names, lambda row: row.metric)
    section("Peak memory of the process", [r for r in timed if r.metric != "x"], samples, names, lambda row: "peak")


def write_csv(path, chosen, samples, names):
    with open(path, "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["row", "group", "metric", "unit", "headline", "floor", "allocator", "rounds", "min", "median", "max"])
        for row in chosen:
            for (name, metric), by_allocator in samples.items():
                if name != row.name:
                    continue
                for n in names:
                    values = by_allocator.get(n)
                    if values:
                        out.writerow([row.name, row.group, metric, unit(row, metric), int(metric == row.metric), int(row.floor), n,
                                      len(values)] + [f"{v:.4f}" for v in (min(values), statistics.median(values), max(values))])
