/*
 * Asks /metrics and /readyz once a second while the page is seen, keeps five minutes of it, and fills
 * the page in. Nothing is told twice to the server, and nothing comes from elsewhere.
 */

const PERIOD_MS = 1000;
const PATIENCE_MS = 5000; /* for an answer */
const GAP_MS = 10000; /* samples further apart say nothing about the time between */
const WINDOW_MS = 10000; /* of percentiles and rates */
const RATE_WINDOW_MS = 3000; /* of the rate of requests */
const LIMIT_SHOWN_MS = 60000; /* after it was hit last */
const RESTART_SHOWN_MS = 60000;
const METHODS_SHOWN = 12;
const DAY_S = 86400;

const CALLS = 'grpc_server_handled_total';
const LATENCY = 'grpc_server_handling_seconds';
const UNARY = { grpc_type: 'unary' };
const SERVER_FAULTS = ['Unknown', 'DeadlineExceeded', 'Internal', 'Unavailable', 'DataLoss'];

const samples = []; /* {time, sample}, of the last WINDOW_MS, the latest at the end */
const points = []; /* what happened between two samples, of the last SPAN_MS */
const limitsHitAt = new Map(); /* name -> time */
let lastAnswerAt;
let restartedAt;
let ready; /* {isReady, text} */
let timer; /* of the next turn; undefined while one runs, or nobody looks */
let isAsking = false;
let pointedAge; /* milliseconds, on both pictures */

const field = (id) => document.getElementById(id);

function show(id, text) {
  const element = field(id);
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

/* ---- keeping ---- */

function makePoint(before, latest) {
  const seconds = (latest.time - before.time) / 1000;
  const codes = growthBy(before.sample, latest.sample, CALLS, 'grpc_code');
  const calls = [...codes.values()].reduce((sum, count) => sum + count, 0);
  const errors = calls - (codes.get('OK') ?? 0);
  const latency = growthOfHistogram(before.sample, latest.sample, LATENCY, UNARY);
  return {
    begun: before.time, time: latest.time, seconds, codes, calls, errors, latency,
    rate: calls / seconds, errorRate: errors / seconds,
    p50: quantile(latency, 0.5), p99: quantile(latency, 0.99),
    limits: growthBy(before.sample, latest.sample, 'userd_limit_hits_total', 'limit'),
  };
}

function keep(sample, time) {
  const before = samples.at(-1);
  if (before !== undefined && hasRestarted(before.sample, sample)) {
    restartedAt = time;
    samples.length = 0;
  } else if (before !== undefined && time - before.time > GAP_MS) {
    samples.length = 0;
  } else if (before !== undefined) {
    const point = makePoint(before, { sample, time });
    points.push(point);
    for (const limit of point.limits.keys()) {
      limitsHitAt.set(limit, time);
    }
  }
  samples.push({ sample, time });
  while (samples.length > 2 && time - samples[1].time >= WINDOW_MS) {
    samples.shift();
  }
}

function forget(now) {
  while (points.length > 0 && now - points[0].time > SPAN_MS) {
    points.shift();
  }
  for (const [limit, time] of limitsHitAt) {
    if (now - time > LIMIT_SHOWN_MS) {
      limitsHitAt.delete(limit);
    }
  }
}

/* ---- between the ends of the window ---- */

function makeWindow() {
  const [first, last] = [samples[0], samples.at(-1)];
  const seconds = (last.time - first.time) / 1000;
  const perSecond = (value) => (seconds > 0 && value !== undefined ? value / seconds : undefined);
  return {
    last: last.sample,
    growth: (name, wanted) => (seconds > 0 ? growth(first.sample, last.sample, name, wanted) : undefined),
    rate: (name, wanted) => perSecond(growth(first.sample, last.sample, name, wanted)),
    ratesBy: (name, key) =>
      new Map([...growthBy(first.sample, last.sample, name, key)].map(([found, more]) => [found, perSecond(more)])),
    histogram: (name, wanted) => growthOfHistogram(first.sample, last.sample, name, wanted),
  };
}

/* Over the points of the last `span` milliseconds: the sums by the keys of one of their Maps. */
function sumOfPoints(name, now, span = SPAN_MS) {
  const sums = new Map();
  for (const point of points.filter((one) => now - one.begun <= span)) {
    for (const [key, count] of point[name]) {
      sums.set(key, (sums.get(key) ?? 0) + count);
    }
  }
  return sums;
}

/* ---- the head ---- */

function showState(now) {
  const isLost = lastAnswerAt !== undefined && now - lastAnswerAt > 2 * PERIOD_MS && ready === undefined;
  const state = isLost ? 'lost' : ready === undefined ? 'waiting' : ready.isReady ? 'ready' : 'unready';
  const text = { lost: 'No answer', waiting: 'Asking the server' }[state] ?? ready.text;
  field('state').className = state;
  show('state-text', text);
  show('state-more', isLost ? ` for ${formatSpan((now - lastAnswerAt) / 1000)}, trying again` : '');
  document.body.classList.toggle('stale', isLost);
  const rate = samples.length > 1 && !isLost ? `${field('rate').textContent}/s` : text;
  document.title = `${state === 'ready' ? '' : '⚠ '}${rate} · userd`;
}

function showFacts(sample, wallSeconds) {
  const started = total(sample, 'process_start_time_seconds');
  const ends = total(sample, 'userd_tls_certificate_not_after_seconds');
  const days = ends === undefined ? undefined : (ends - wallSeconds) / DAY_S;
  show('uptime', started === undefined ? NONE : formatSpan(wallSeconds - started));
  show('version', sample.get('userd_build_info')?.[0].labels.version ?? NONE);
  show('certificate', days === undefined ? 'none' : days < 0 ? 'has ended' : `ends in ${formatSpan(days * DAY_S)}`);
  field('certificate').className = days === undefined ? '' : days < 1 ? 'bad' : days < 14 ? 'warn' : '';
}

/* ---- the two pictures ---- */

function showRates(sample, now) {
  const recent = points.filter((point) => now - point.begun <= RATE_WINDOW_MS + PERIOD_MS);
  const seconds = recent.reduce((sum, point) => sum + point.seconds, 0);
  const [calls, errors] = ['calls', 'errors'].map((name) => recent.reduce((sum, point) => sum + point[name], 0));
  show('rate', seconds > 0 ? formatNumber(calls / seconds) : NONE);
  show('error-share', calls > 0 ? formatShare(errors / calls) : NONE);
  show('calls-total', formatCount(total(sample, CALLS)));
}

function showQuantiles(found) {
  for (const [id, share] of [['p50', 0.5], ['p90', 0.9], ['p99', 0.99], ['p999', 0.999]]) {
    show(id, formatDuration(quantile(found, share)));
  }
}

function ageText(point, now) {
  return `${formatSpan((now - point.time) / 1000)} ago`;
}

function readRate(pointed, now) {
  if (pointed) {
    return `${ageText(pointed, now)}: ${formatNumber(pointed.rate)} requests and ${formatNumber(pointed.errorRate)} errors per second`;
  }
  if (points.length === 0) {
    return 'five minutes are kept while this page is open';
  }
  const rates = points.map((point) => point.rate);
  const calls = points.reduce((sum, point) => sum + point.calls, 0);
  const seconds = points.reduce((sum, point) => sum + point.seconds, 0);
  return `highest ${formatNumber(Math.max(...rates))}, mean ${formatNumber(calls / seconds)}, in ${formatSpan(seconds)}`;
}

function readLatency(pointed, now) {
  if (pointed) {
    return `${ageText(pointed, now)}: ${formatCount(countOf(pointed.latency))} calls, p50 ${formatDuration(pointed.p50)}, p99 ${formatDuration(pointed.p99)}`;
  }
  return 'unary calls; the stronger the colour, the more of them';
}

function showPictures(now) {
  fitSpan(points, now);
  const pointed = pointedAge === undefined ? undefined : pointAt(points, now, pointedAge);
  drawRate(field('rate-chart'), points, now, pointed);
  drawLatency(field('latency-chart'), points, now, pointed);
  show('rate-readout', readRate(pointed, now));
  show('latency-readout', readLatency(pointed, now));
  field('rate-chart').setAttribute('aria-label', `Requests per second in the last five minutes: ${readRate(undefined, now)}`);
  field('latency-chart').setAttribute('aria-label',
    `How long unary calls took in the last five minutes; now p50 ${field('p50').textContent}, p99 ${field('p99').textContent}`);
}

/* ---- the tiles ---- */

function showTile(id, value, note, unit) {
  show(`${id}-note`, note);
  if (unit === undefined) {
    show(id, value);
  } else if (field(id).textContent !== `${value} ${unit}`.trim()) {
    const small = document.createElement('small');
    small.textContent = unit === '' ? '' : ` ${unit}`;
    field(id).replaceChildren(value, small);
  }
}

function showBar(id, share) {
  field(id).style.width = `${Math.min(Math.max(share ?? 0, 0), 1) * 100}%`;
  field(id).className = share > 0.8 ? 'high' : '';
}

function showTiles(recent) {
  const of = (name, wanted) => total(recent.last, name, wanted);
  const refused = recent.rate('userd_connections_refused_total');
  showTile('connections', formatCount(of('userd_connections')),
    `${formatNumber(recent.rate('userd_connections_accepted_total'))} new/s${refused > 0 ? `, ${formatNumber(refused)} refused/s` : ''}`);
  const streams = of('userd_streams');
  showTile('calls', formatCount(of('userd_calls')), `${formatCount(streams)} ${streams === 1 ? 'stream' : 'streams'} open`);
  const room = of('userd_users_max');
  showTile('users', formatCount(of('userd_users')), room > 0 ? `${formatShare(of('userd_users') / room)} of ${formatCount(room)}` : '');
  showTile('watchers', formatCount(of('userd_watchers', { service: 'users' }) ?? of('userd_watchers')),
    `${formatNumber(recent.rate('userd_watch_messages_total'))} messages/s`);

  const sync = recent.histogram('userd_wal_sync_seconds');
  showTile('sync', ...[splitDuration(quantile(sync, 0.5))].flatMap(([value, unit]) => [value,
    countOf(sync) > 0 ? `p99 ${formatDuration(quantile(sync, 0.99))}, ${formatNumber(recent.rate('userd_wal_sync_seconds_count'))} syncs/s` : 'no change lately', unit]));
  const batches = recent.growth('userd_wal_sync_records_count');
  const batch = batches > 0 ? recent.growth('userd_wal_sync_records_sum') / batches : undefined;
  showTile('batch', formatNumber(batch), `${formatCount(of('userd_wal_pending_records'))} waiting`);

  const memory = of('process_resident_memory_bytes');
  const limit = of('userd_memory_limit_bytes');
  const used = of('userd_memory_used_bytes');
  const [size, unit] = formatBytes(memory).split(' ');
  showTile('memory', size, limit > 0 ? `${formatShare((used ?? memory) / limit)} of ${formatBytes(limit)}` : 'no limit', unit ?? '');
  showBar('memory-bar', limit > 0 ? (used ?? memory) / limit : 0);
  const processor = recent.rate('process_cpu_seconds_total');
  const turn = quantile(recent.histogram('userd_loop_turn_seconds'), 0.99);
  showTile('processor', formatShare(processor), turn === undefined ? 'of one' : `of one; loop turn p99 ${formatDuration(turn)}`);
  showBar('processor-bar', processor);
}

/* ---- the tables ---- */

/* Fills the body of a table: rows of cells, a cell a text or [text, second line] or {text, name}. Cells
 * that are there are kept, so that a selection and a reader's place are too. */
function fillTable(id, rows, none) {
  const body = field(id);
  const wanted = rows.length > 0 ? rows : [[none]];
  const columns = body.closest('table').tHead.rows[0].cells.length;
  while (body.rows.length > wanted.length) {
    body.deleteRow(-1);
  }
  wanted.forEach((cells, i) => {
    const row = body.rows[i] ?? body.insertRow();
    row.className = rows.length > 0 ? '' : 'none';
    while (row.cells.length > cells.length) {
      row.deleteCell(-1);
    }
    cells.forEach((cell, j) => {
      const element = row.cells[j] ?? row.insertCell();
      element.colSpan = rows.length > 0 ? 1 : columns;
      const { text, more, name } = typeof cell === 'string' ? { text: cell } : cell;
      element.className = name ?? '';
      if (element.textContent !== text + (more ?? '')) {
        const small = document.createElement('small');
        small.textContent = more ?? '';
        element.replaceChildren(text, ...(more === undefined ? [] : [small]));
      }
    });
  });
}

/* By calls since the start, which does not jump about. */
function showMethods(recent) {
  const nameOf = (labels) => `${labels.grpc_service}/${labels.grpc_method}`;
  const counts = [...totalsBy(recent.last, CALLS, nameOf)].filter(([, count]) => count > 0)
    .sort((a, b) => b[1] - a[1]).slice(0, METHODS_SHOWN);
  const rates = recent.ratesBy(CALLS, nameOf);
  const ratesOf = (isWanted) =>
    recent.ratesBy(CALLS, (labels) => (isWanted(labels.grpc_code) ? nameOf(labels) : undefined));
  const [errors, faults] = [ratesOf((code) => code !== 'OK'), ratesOf((code) => SERVER_FAULTS.includes(code))];
  fillTable('methods', counts.map(([name]) => {
    const [service, method] = name.split('/');
    const rate = rates.get(name) ?? 0;
    const share = rate > 0 ? (errors.get(name) ?? 0) / rate : undefined;
    const latency = recent.histogram(LATENCY, { grpc_service: service, grpc_method: method });
    return [{ text: method, more: service }, formatNumber(rate),
      { text: formatShare(share), name: faults.has(name) ? 'bad' : '' },
      formatDuration(quantile(latency, 0.5)), formatDuration(quantile(latency, 0.99))];
  }), 'No call yet');
}

function showErrors(recent, now) {
  const lately = sumOfPoints('codes', now);
  const rates = recent.ratesBy(CALLS, 'grpc_code');
  const counts = [...totalsBy(recent.last, CALLS, 'grpc_code')]
    .filter(([code, count]) => code !== 'OK' && count > 0).sort((a, b) => b[1] - a[1]);
  fillTable('errors', counts.map(([code, count]) => [
    { text: code, name: SERVER_FAULTS.includes(code) && lately.has(code) ? 'bad' : '' },
    formatNumber(rates.get(code) ?? 0), formatCount(lately.get(code) ?? 0), formatCount(count)]), 'none');
}

function showLimits(recent, now) {
  const lately = sumOfPoints('limits', now);
  const rates = recent.ratesBy('userd_limit_hits_total', 'limit');
  fillTable('limits', [...limitsHitAt.keys()].sort().map((limit) => [
    limit, formatNumber(rates.get(limit) ?? 0), formatCount(lately.get(limit) ?? 0)]), 'none');
}

/* ---- what somebody should look at ---- */

const OVERLOADS = {
  memory_soft: 'Memory is getting short: new work is turned away',
  memory_hard: 'Memory is short: calls are turned away',
  delay: 'The loop is late: a share of the calls is turned away',
};

function findWarnings(sample, now, wallSeconds) {
  const of = (name, wanted) => total(sample, name, wanted);
  const warnings = Object.keys(OVERLOADS).filter((cause) => of('userd_overload', { cause }) > 0)
    .map((cause) => OVERLOADS[cause]);
  const daysLeft = (name) => ((of(name) ?? Infinity) - wallSeconds) / DAY_S;
  const test = (isSo, text) => (isSo ? warnings.push(text) : 0);
  test(daysLeft('userd_tls_certificate_not_after_seconds') < 14, 'The certificate ends soon: put a new one in its place');
  test(daysLeft('userd_tls_crl_not_after_seconds') < 1, 'A revocation list ends soon: put a new one in its place');
  test(of('userd_wal_state', { state: 'degraded' }) > 0, 'Changes are refused: the disk has no room');
  test(of('userd_wal_state', { state: 'failed' }) > 0, 'The log has failed: the server ends');
  test(of('userd_config_last_reload_successful') === 0, 'The last reload was refused: the log of userd says why');
  test(sample.get('userd_build_info')?.[0].labels.accelerated === 'no', 'TLS works without the acceleration of the processor');
  test(restartedAt !== undefined && now - restartedAt < RESTART_SHOWN_MS, 'The server has been started anew');
  return warnings;
}

function showWarnings(warnings) {
  const list = field('warnings');
  if ([...list.children].map((item) => item.textContent).join('\n') !== warnings.join('\n')) {
    list.replaceChildren(...warnings.map((text) => {
      const item = document.createElement('li');
      item.textContent = text;
      return item;
    }));
  }
  list.hidden = warnings.length === 0;
}

/* ---- turns ---- */

function render() {
  const now = performance.now();
  const wallSeconds = Date.now() / 1000;
  forget(now);
  if (samples.length > 0) {
    const recent = makeWindow();
    showFacts(recent.last, wallSeconds);
    showRates(recent.last, now);
    showQuantiles(recent.histogram(LATENCY, UNARY));
    showTiles(recent);
    showMethods(recent);
    showErrors(recent, now);
    showLimits(recent, now);
    showWarnings(findWarnings(recent.last, now, wallSeconds));
  }
  showState(now);
  showPictures(now);
}

async function ask(path) {
  const answer = await fetch(path, { cache: 'no-store', signal: AbortSignal.timeout(PATIENCE_MS) });
  return { ok: answer.ok, text: await answer.text() };
}

/* The text of /readyz as people read it: "Ready", "Not ready: draining". */
function readState({ ok, text }) {
  const line = text.trim().split('\n')[0];
  return { isReady: ok, text: line.charAt(0).toUpperCase() + line.slice(1) };
}

async function turn() {
  const begun = performance.now();
  timer = undefined;
  isAsking = true;
  lastAnswerAt ??= begun;
  try {
    const [metrics, state] = await Promise.all([ask('/metrics'), ask('/readyz')]);
    const now = performance.now();
    ready = readState(state);
    if (metrics.ok) {
      keep(readMetrics(metrics.text), now);
    } else {
      ready = { isReady: false, text: 'GET /metrics was refused' };
    }
    lastAnswerAt = now;
  } catch {
    ready = undefined;
  }
  render();
  isAsking = false;
  if (!document.hidden) {
    timer = setTimeout(turn, Math.max(PERIOD_MS - (performance.now() - begun), PERIOD_MS / 4));
  }
}

/* A page that nobody sees asks nothing, and begins at once when it is seen. */
document.addEventListener('visibilitychange', () => {
  if (!document.hidden && timer === undefined && !isAsking) {
    timer = setTimeout(turn, 0);
  }
});

for (const id of ['rate-chart', 'latency-chart']) {
  letPoint(field(id), (age, byKey) => {
    pointedAge = age;
    field(`${id.replace('chart', 'readout')}`).setAttribute('aria-live', byKey ? 'polite' : 'off');
    showPictures(performance.now());
  });
}
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', render);
new ResizeObserver(() => showPictures(performance.now())).observe(field('rate-chart'));
render();
turn();
