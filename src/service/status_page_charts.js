/*
 * The two pictures of the page: the rate of requests as an area, and how long calls took as a heat map.
 * Both show the last five minutes, or less while less is known, now at the right, and tell of the moment
 * that is pointed at.
 */

const SPAN_MS = 300000;
const SPANS = [[60000, [[45, '45 s'], [30, '30 s'], [15, '15 s']]],
  [120000, [[90, '90 s'], [60, '1 min'], [30, '30 s']]],
  [SPAN_MS, [[240, '4 min'], [180, '3 min'], [120, '2 min'], [60, '1 min']]]]; /* with marks, in seconds */
const GUTTER = 52; /* CSS pixels at the left, for the axis */
const FOOT = 18; /* at the bottom, for the time */

let [shownSpan, shownMarks] = SPANS[0];

/* Chooses the span that shows all there is. */
function fitSpan(points, now) {
  const age = points.length === 0 ? 0 : now - points[0].begun;
  [shownSpan, shownMarks] = SPANS.find(([span]) => age <= span) ?? SPANS.at(-1);
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/* A canvas of the size that it has on the page, in pixels of the screen; cleared. */
function prepare(canvas) {
  const { width, height } = canvas.getBoundingClientRect();
  const scale = window.devicePixelRatio || 1;
  const [wide, high] = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== wide || canvas.height !== high) {
    canvas.width = wide;
    canvas.height = high;
  }
  const context = canvas.getContext('2d');
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = `11px ${getComputedStyle(document.body).fontFamily}`;
  context.textBaseline = 'middle';
  return { context, width: width - GUTTER, height: height - FOOT, left: GUTTER, top: 4 };
}

function xOf(box, time, now) {
  return box.left + box.width * (1 - (now - time) / shownSpan);
}

function drawText(box, text, x, y, align = 'right') {
  box.context.fillStyle = colour('--soft');
  box.context.textAlign = align;
  box.context.fillText(text, x, y);
}

/* One level line across, with what it stands for. */
function drawLevel(box, y, text) {
  box.context.fillStyle = colour('--line');
  box.context.fillRect(box.left, Math.round(y), box.width, 1);
  drawText(box, text, box.left - 6, Math.min(Math.max(y, 7), box.height));
}

function drawTimes(box) {
  const marks = box.width < 300 ? shownMarks.filter((mark, i) => i % 2 === 0) : shownMarks;
  for (const [seconds, text] of marks) {
    drawText(box, `−${text}`, xOf(box, -seconds * 1000, 0), box.height + 11, 'center');
  }
  drawText(box, 'now', box.left + box.width, box.height + 11);
}

function drawPointer(box, time, now) {
  const x = Math.round(xOf(box, time, now));
  box.context.fillStyle = colour('--text');
  box.context.fillRect(x, 0, 1, box.height);
}

/* Points that follow each other without a gap. */
function runsOf(points) {
  const runs = [];
  for (const [i, point] of points.entries()) {
    if (i === 0 || point.begun !== points[i - 1].time) {
      runs.push([]);
    }
    runs.at(-1).push(point);
  }
  return runs;
}

/* ---- the rate ---- */

/* Fills under a value of the points and draws its upper edge. */
function drawArea(box, points, now, most, valueOf, line, fill) {
  const { context } = box;
  const yOf = (value) => box.top + (box.height - box.top) * (1 - value / most);
  for (const run of runsOf(points)) {
    const path = new Path2D();
    path.moveTo(xOf(box, run[0].begun, now), yOf(valueOf(run[0])));
    for (const point of run) {
      path.lineTo(xOf(box, point.time, now), yOf(valueOf(point)));
    }
    context.strokeStyle = line;
    context.lineWidth = 1.5;
    context.lineJoin = 'round';
    context.stroke(path);
    path.lineTo(xOf(box, run.at(-1).time, now), box.height);
    path.lineTo(xOf(box, run[0].begun, now), box.height);
    context.fillStyle = fill;
    context.fill(path);
  }
}

function drawRate(canvas, points, now, pointed) {
  const box = prepare(canvas);
  const { context } = box;
  const most = roundUp(Math.max(10, ...points.map((point) => point.rate)));
  for (const share of [0, 0.5, 1]) {
    drawLevel(box, box.top + (box.height - box.top) * (1 - share), formatMark(most * share));
  }
  drawTimes(box);
  context.save();
  context.beginPath();
  context.rect(box.left, 0, box.width, box.height + 1);
  context.clip();
  drawArea(box, points, now, most, (point) => point.rate, colour('--accent'), colour('--wash'));
  if (points.some((point) => point.errorRate > 0)) {
    drawArea(box, points, now, most, (point) => point.errorRate, colour('--bad'), colour('--bad'));
  }
  if (pointed) {
    drawPointer(box, pointed.time, now);
  }
  context.restore();
}

/* ---- the heat map ---- */

/* Colours for shares from 0 to 1, between those that the style names. */
function heatScale() {
  const stops = colour('--heat').split(/\s+/).map((stop) => [1, 3, 5].map((at) => parseInt(stop.slice(at, at + 2), 16)));
  return (share) => {
    const place = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
    const low = Math.min(Math.floor(place), stops.length - 2);
    const mixed = stops[low].map((value, i) => Math.round(value + (stops[low + 1][i] - value) * (place - low)));
    return `rgb(${mixed.join(' ')})`;
  };
}

/* The range of time on the axis: from a power of ten to another, around all buckets that hold calls. */
function rangeOf(points) {
  let [low, high] = [Infinity, -Infinity];
  for (const { latency } of points) {
    for (const [i, count] of latency?.counts.entries() ?? []) {
      if (count > 0) {
        low = Math.min(low, i === 0 ? latency.ends[0] / 10 : latency.ends[i - 1]);
        high = Math.max(high, latency.ends[i] === Infinity ? latency.ends[i - 1] * 2 : latency.ends[i]);
      }
    }
  }
  if (low > high) {
    return [-5, -1];
  }
  const from = Math.floor(Math.log10(low) + 1e-9);
  return [from, Math.max(Math.ceil(Math.log10(high) - 1e-9), from + 2)];
}

function drawCells(box, points, now, yOf) {
  const { context } = box;
  const scale = heatScale();
  const most = Math.max(1, ...points.flatMap((point) => point.latency?.counts ?? []));
  for (const { begun, time, latency } of points) {
    const x = Math.floor(xOf(box, begun, now));
    const width = Math.ceil(xOf(box, time, now)) - x;
    for (const [i, count] of latency?.counts.entries() ?? []) {
      if (count > 0) {
        const low = yOf(i === 0 ? latency.ends[0] / 10 : latency.ends[i - 1]);
        const high = yOf(latency.ends[i] === Infinity ? latency.ends[i - 1] * 2 : latency.ends[i]);
        context.fillStyle = scale(Math.log1p(count) / Math.log1p(most));
        context.fillRect(x, Math.floor(high), width, Math.ceil(low) - Math.floor(high));
      }
    }
  }
}

/* A line that is seen on cells of any colour: it has an edge of the card's. */
function drawQuantile(box, points, now, yOf, name, line) {
  const { context } = box;
  context.lineJoin = 'round';
  for (const run of runsOf(points.filter((point) => point[name] !== undefined))) {
    const path = new Path2D();
    path.moveTo(xOf(box, run[0].begun, now), yOf(run[0][name]));
    run.forEach((point) => path.lineTo(xOf(box, point.time, now), yOf(point[name])));
    for (const [stroke, width] of [[colour('--card'), 3.5], [line, 1.5]]) {
      context.strokeStyle = stroke;
      context.lineWidth = width;
      context.stroke(path);
    }
  }
}

function drawLatency(canvas, points, now, pointed) {
  const box = prepare(canvas);
  const { context } = box;
  const [from, to] = rangeOf(points);
  const yOf = (seconds) =>
    box.top + (box.height - box.top) * (1 - (Math.log10(seconds) - from) / (to - from));
  for (let power = from; power <= to; power += 1) {
    drawLevel(box, yOf(10 ** power), formatEnd(10 ** power));
  }
  drawTimes(box);
  context.save();
  context.beginPath();
  context.rect(box.left, box.top, box.width, box.height - box.top + 1);
  context.clip();
  drawCells(box, points, now, yOf);
  drawQuantile(box, points, now, yOf, 'p50', colour('--mid'));
  drawQuantile(box, points, now, yOf, 'p99', colour('--high'));
  if (pointed) {
    drawPointer(box, pointed.time, now);
  }
  context.restore();
}

/* ---- pointing ---- */

/* The point that is `age` milliseconds old, if there is one about there. */
function pointAt(points, now, age) {
  const time = now - age;
  return points.find((point) => point.begun < time && time <= point.time);
}

/* Lets mouse, finger and keys point at a moment: `told` hears its age in milliseconds, or undefined. */
function letPoint(canvas, told) {
  const reach = (event) => {
    const { left, width } = canvas.getBoundingClientRect();
    const share = (event.clientX - left - GUTTER) / (width - GUTTER);
    told(share < 0 ? undefined : (1 - share) * shownSpan);
  };
  let age;
  canvas.addEventListener('pointermove', reach);
  canvas.addEventListener('pointerdown', reach);
  canvas.addEventListener('pointerleave', () => told(undefined));
  canvas.addEventListener('blur', () => told(age = undefined));
  canvas.addEventListener('keydown', (event) => {
    const steps = { ArrowLeft: 1000, ArrowRight: -1000, PageUp: 30000, PageDown: -30000 };
    if (event.key in steps) {
      age = Math.min(Math.max((age ?? 0) + steps[event.key], 500), shownSpan);
      event.preventDefault();
      told(age, true);
    } else if (event.key === 'Escape') {
      told(age = undefined);
    }
  });
}
