/*
 * What the status page computes, without anything of a browser, so that tests can run it alone: from
 * the text of Prometheus to rates and percentiles, and from numbers to what people read.
 *
 * A sample is a Map: metric name -> [{labels, value}]. A metric may be missing; then the answer is
 * undefined or empty, and the page shows a dash.
 */

/* ---- reading ---- */

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?[ \t]+(\S+)/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;
const ESCAPES = { '\\n': '\n', '\\"': '"', '\\\\': '\\' };

function readNumber(text) {
  const words = { NaN, '+Inf': Infinity, Inf: Infinity, '-Inf': -Infinity };
  return text in words ? words[text] : Number(text);
}

function readLabels(text) {
  const labels = {};
  for (const [, name, value] of text.matchAll(LABEL)) {
    labels[name] = value.includes('\\') ? value.replace(/\\[n"\\]/g, (found) => ESCAPES[found]) : value;
  }
  return labels;
}

/* Lines that are none are passed over. */
function readMetrics(text) {
  const sample = new Map();
  for (const line of text.split('\n')) {
    const found = line.startsWith('#') ? null : LINE.exec(line);
    const value = found ? readNumber(found[3]) : NaN;
    if (found && !Number.isNaN(value)) {
      const [, name, labels] = found;
      if (!sample.has(name)) {
        sample.set(name, []);
      }
      sample.get(name).push({ labels: labels ? readLabels(labels) : {}, value });
    }
  }
  return sample;
}

function matches(labels, wanted) {
  return Object.entries(wanted).every(([name, value]) => labels[name] === value);
}

/* The sum over all series with these labels; undefined when there is none. */
function total(sample, name, wanted = {}) {
  let sum;
  for (const one of sample?.get(name) ?? []) {
    if (matches(one.labels, wanted)) {
      sum = (sum ?? 0) + one.value;
    }
  }
  return sum;
}

/* The sums by one label, or by what `key` makes of all labels: a Map. */
function totalsBy(sample, name, key) {
  const sums = new Map();
  const keyOf = typeof key === 'string' ? (labels) => labels[key] : key;
  for (const { labels, value } of sample?.get(name) ?? []) {
    const found = keyOf(labels);
    if (found !== undefined) {
      sums.set(found, (sums.get(found) ?? 0) + value);
    }
  }
  return sums;
}

/* A histogram summed over all series with these labels: the upper ends of the buckets, and how many
 * fell into each; undefined when there is none. */
function histogram(sample, name, wanted = {}) {
  const upTo = new Map();
  for (const { labels, value } of sample?.get(`${name}_bucket`) ?? []) {
    if (matches(labels, wanted)) {
      const end = readNumber(labels.le);
      upTo.set(end, (upTo.get(end) ?? 0) + value);
    }
  }
  const ends = [...upTo.keys()].sort((a, b) => a - b);
  return ends.length === 0
    ? undefined
    : { ends, counts: ends.map((end, i) => upTo.get(end) - (i === 0 ? 0 : upTo.get(ends[i - 1]))) };
}

/* ---- between two samples ---- */

/* Is the later sample that of another run of the server? */
function hasRestarted(before, now) {
  const starts = [before, now].map((sample) => total(sample, 'process_start_time_seconds'));
  if (starts[0] !== undefined && starts[1] !== undefined && Math.abs(starts[0] - starts[1]) > 0.5) {
    return true;
  }
  for (const name of ['userd_connections_accepted_total', 'grpc_server_handled_total']) {
    if ((total(now, name) ?? 0) < (total(before, name) ?? 0)) {
      return true;
    }
  }
  return false;
}

/* By how much a counter grew; undefined when either sample lacks it. */
function growth(before, now, name, wanted = {}) {
  const [old, fresh] = [before, now].map((sample) => total(sample, name, wanted));
  return old === undefined || fresh === undefined ? undefined : Math.max(0, fresh - old);
}

/* The same by a label; what did not grow is left out. */
function growthBy(before, now, name, key) {
  const old = totalsBy(before, name, key);
  const grown = new Map();
  for (const [found, value] of totalsBy(now, name, key)) {
    const more = value - (old.get(found) ?? 0);
    if (more > 0) {
      grown.set(found, more);
    }
  }
  return grown;
}

/* What fell into a histogram between two samples. */
function growthOfHistogram(before, now, name, wanted = {}) {
  const old = histogram(before, name, wanted);
  const fresh = histogram(now, name, wanted);
  if (old === undefined || fresh === undefined || old.ends.length !== fresh.ends.length) {
    return undefined;
  }
  return { ends: fresh.ends, counts: fresh.counts.map((count, i) => Math.max(0, count - old.counts[i])) };
}

/* ---- percentiles ---- */

function countOf(found) {
  return found === undefined ? 0 : found.counts.reduce((sum, count) => sum + count, 0);
}

/* The value that a share of all is not above, read off the buckets as PromQL's histogram_quantile()
 * does; undefined when nothing fell into them. What lies above the last end is told as that end. */
function quantile(found, share) {
  const all = countOf(found);
  if (all === 0) {
    return undefined;
  }
  let rank = share * all;
  for (const [i, count] of found.counts.entries()) {
    if (rank <= count && count > 0) {
      const low = i === 0 ? 0 : found.ends[i - 1];
      return found.ends[i] === Infinity ? low : low + (found.ends[i] - low) * (rank / count);
    }
    rank -= count;
  }
  return found.ends.findLast((end) => end !== Infinity);
}

/* ---- for people ---- */

const NONE = '–';

/* Three digits that count: 0.25, 1.50, 12.3, 123, 12,345. */
function formatNumber(value) {
  if (value === undefined || Number.isNaN(value)) {
    return NONE;
  }
  const size = Math.abs(value);
  const digits = size === 0 || size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2;
  return value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/* A mark on an axis, which is a round number: 0.25, 40, 12,000. */
function formatMark(value) {
  return Number(value.toPrecision(3)).toLocaleString('en-US');
}

function formatCount(value) {
  return value === undefined ? NONE : Math.round(value).toLocaleString('en-US');
}

/* [number, unit] */
function splitDuration(seconds) {
  if (seconds === undefined) {
    return [NONE, ''];
  }
  const [factor, unit] = seconds < 0.0009995 ? [1e6, 'µs'] : seconds < 0.9995 ? [1e3, 'ms'] : [1, 's'];
  const value = seconds * factor;
  return [value >= 99.5 ? value.toFixed(0) : value >= 9.95 ? value.toFixed(1) : value.toFixed(2), unit];
}

function formatDuration(seconds) {
  return splitDuration(seconds).join(' ').trim();
}

/* A bucket's end, which is a round number: 100 µs, 2.5 ms. */
function formatEnd(seconds) {
  const [factor, unit] = seconds < 0.001 ? [1e6, 'µs'] : seconds < 1 ? [1e3, 'ms'] : [1, 's'];
  return `${Number((seconds * factor).toPrecision(3))} ${unit}`;
}

function formatBytes(bytes) {
  if (bytes === undefined) {
    return NONE;
  }
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return `${value.toFixed(digits)} ${units[unit]}`;
}

/* Two units: 3 d 4 h, 4 h 12 min, 12 min 5 s, 5 s. */
function formatSpan(seconds) {
  if (seconds === undefined) {
    return NONE;
  }
  const whole = Math.max(0, Math.floor(seconds));
  const parts = [[Math.floor(whole / 86400), 'd'], [Math.floor(whole / 3600) % 24, 'h'],
    [Math.floor(whole / 60) % 60, 'min'], [whole % 60, 's']];
  const first = parts.findIndex(([value]) => value > 0);
  return first === -1 ? '0 s' : parts.slice(first, first + 2).map((part) => part.join(' ')).join(' ');
}

function formatShare(share) {
  if (share === undefined) {
    return NONE;
  }
  const percent = share * 100;
  if (percent > 0 && percent < 0.01) {
    return '< 0.01 %';
  }
  const digits = percent === 0 || percent >= 9.95 ? 0 : percent >= 0.095 ? 1 : 2;
  return `${percent.toFixed(digits)} %`;
}

/* The next number that is easy to halve and to read, for the end of an axis. */
function roundUp(value) {
  if (!(value > 0)) {
    return 1;
  }
  const power = 10 ** Math.floor(Math.log10(value));
  const steps = [1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10];
  return steps.find((step) => step * power >= value * 0.999999) * power;
}
