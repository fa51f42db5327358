"""Plots as SVG text, for a page that loads nothing."""

import html
import math

WIDTH, HEIGHT = 720, 320
LEFT, RIGHT, TOP, BOTTOM = 70, 150, 20, 50
COLOURS = ("#0b6bcb", "#c4320a", "#197d3b", "#7a3fb0", "#946200", "#0f7f86", "#b02a6f", "#555555")


def _text(x, y, text, anchor="middle", extra=""):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="12" {extra}>'
            f"{html.escape(str(text))}</text>")


def _short(value):
    if value == 0:
        return "0"
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"


def _frame(title, body):
    return (f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}" '
            f'xmlns="http://www.w3.org/2000/svg" font-family="sans-serif">' + "".join(body) + "</svg>")


def bars(title, rows, unit):
    """Horizontal bars; rows: (name, value). The scale is logarithmic when values are far apart."""
    rows = [row for row in rows if row[1]]
    if not rows:
        return ""
    most, least = max(row[1] for row in rows), min(row[1] for row in rows)
    is_log = most / least > 30
    step = (HEIGHT - TOP - BOTTOM) / len(rows)
    body = []
    for index, (name, value) in enumerate(rows):
        share = (math.log(value / least * 2) / math.log(most / least * 2)) if is_log else value / most
        y = TOP + index * step
        width = max(2, share * (WIDTH - 320))
        body.append(f'<rect x="200" y="{y + 4:.1f}" width="{width:.1f}" height="{step - 8:.1f}" '
                    f'fill="{COLOURS[index % len(COLOURS)]}"/>')
        body.append(_text(192, y + step / 2 + 4, name, "end"))
        body.append(_text(200 + width + 6, y + step / 2 + 4, f"{_short(value)} {unit}", "start"))
    if is_log:
        body.append(_text(WIDTH / 2, HEIGHT - 16, "lengths are logarithmic"))
    return _frame(title, body)


def _ticks(low, high, is_log):
    if is_log:
        return [10.0 ** power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
                if low <= 10.0 ** power <= high]
    step = 10 ** math.floor(math.log10((high - low) / 4 or 1))
    step *= 5 if (high - low) / step > 20 else 2 if (high - low) / step > 8 else 1
    return [low + step * number for number in range(int((high - low) / step) + 1)]


def lines(title, series, axes, log_x=False, log_y=False, x_names=None):
    """series: name -> [(x, y)]; axes: the names of both. `x_names`: text for each tick of x."""
    points = [point for rows in series.values() for point in rows]
    points = [point for point in points if (point[0] > 0 or not log_x) and (point[1] > 0 or not log_y)]
    if len(points) < 2:
        return ""
    xs, ys = [point[0] for point in points], [point[1] for point in points]
    x_low, x_high = (min(xs), max(xs)) if log_x else (min(0, *xs), max(xs))
    y_low, y_high = (min(ys) / 1.3, max(ys) * 1.3) if log_y else (0, max(ys) * 1.1)

    def place(value, low, high, start, size, is_log):
        if is_log:
            value, low, high = math.log(value), math.log(low), math.log(high)
        return start + (value - low) / ((high - low) or 1) * size

    def at(point):
        return (place(point[0], x_low, x_high, LEFT, WIDTH - LEFT - RIGHT, log_x),
                HEIGHT - BOTTOM - place(point[1], y_low, y_high, 0, HEIGHT - TOP - BOTTOM, log_y))

    body = []
    for tick in _ticks(y_low, y_high, log_y):
        y = at((x_high, tick))[1]
        body.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        body.append(_text(LEFT - 6, y + 4, _short(tick), "end"))
    for value, name in (x_names or [(tick, _short(tick)) for tick in _ticks(x_low, x_high, log_x)]):
        body.append(_text(at((value, y_high))[0], HEIGHT - BOTTOM + 18, name))
    for index, (name, rows) in enumerate(series.items()):
        colour = COLOURS[index % len(COLOURS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(at, [
            row for row in rows if (row[0] > 0 or not log_x) and (row[1] > 0 or not log_y)]))
        body.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        body.append(_text(WIDTH - RIGHT + 8, TOP + 14 + 18 * index, name, "start", f'fill="{colour}"'))
    body.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, axes[0]))
    body.append(_text(14, HEIGHT / 2, axes[1], "middle", f'transform="rotate(-90 14 {HEIGHT / 2})"'))
    return _frame(title, body)
