#!/usr/bin/env node
// What the status page computes: its own functions, without a browser, against numbers worked out by hand.
'use strict';

const assert = require('node:assert');
const { readFileSync } = require('node:fs');
const path = require('node:path');
const vm = require('node:vm');

const source = path.join(__dirname, '..', '..', 'src', 'service', 'status_page_numbers.js');
const page = vm.createContext({});
vm.runInContext(readFileSync(source, 'utf8'), page, { filename: source });

/* Objects of another context have other prototypes: their content is what counts, a Map's as pairs. */
function plain(value) {
  const isList = typeof value === 'object' && Symbol.iterator in value;
  return value === undefined ? undefined : JSON.parse(JSON.stringify(isList ? [...value] : value));
}

const same = (actual, expected) => assert.deepStrictEqual(plain(actual), expected);

const read = (...lines) => page.readMetrics(lines.join('\n'));

const tests = {
  'reads what Prometheus writes'() {
    const sample = read('# HELP a x', '# TYPE a counter', 'a 1', 'a{x="1"} 2.5', 'b{x="1",y="2"} 1e3 1700000000',
      'c +Inf', 'd{le="+Inf"} 7', '', 'e{x="a\\"b\\\\c\\nd,e}"} 4');
    same(page.total(sample, 'a'), 3.5);
    same(page.total(sample, 'a', { x: '1' }), 2.5);
    same(page.total(sample, 'b', { y: '2' }), 1000);
    assert.strictEqual(page.total(sample, 'c'), Infinity);
    same(sample.get('e')[0].labels, { x: 'a"b\\c\nd,e}' });
  },

  'passes over what is no sample'() {
    const sample = read('<html>', 'a', 'a b', '1a 2', 'b{x="1" 3', 'n NaN', 'ok 1', '{} 3');
    same([...sample.keys()], ['ok']);
    same(page.total(sample, 'missing'), undefined);
    same(page.total(undefined, 'a'), undefined);
    same(page.totalsBy(sample, 'missing', 'x'), []);
    same(page.histogram(sample, 'missing'), undefined);
  },

  'sums by a label'() {
    const sample = read('h{m="a",c="OK"} 1', 'h{m="a",c="No"} 2', 'h{m="b",c="OK"} 3', 'h 9');
    same(page.totalsBy(sample, 'h', 'c'), [['OK', 4], ['No', 2]]);
    same(page.totalsBy(sample, 'h', (labels) => (labels.c === 'OK' ? labels.m : undefined)), [['a', 1], ['b', 3]]);
  },

  'joins the buckets of several series'() {
    const sample = read('h_bucket{m="a",le="0.1"} 1', 'h_bucket{m="a",le="+Inf"} 4', 'h_bucket{m="b",le="0.1"} 10',
      'h_bucket{m="b",le="+Inf"} 10');
    same(page.histogram(sample, 'h').counts, [11, 3]);
    same(page.histogram(sample, 'h', { m: 'a' }).counts, [1, 3]);
    assert.strictEqual(page.histogram(sample, 'h').ends[1], Infinity);
  },

  'takes growth between two samples'() {
    const before = read('h{c="OK"} 5', 'h{c="No"} 7', 'h_bucket{le="1"} 2', 'h_bucket{le="+Inf"} 3');
    const now = read('h{c="OK"} 9', 'h{c="No"} 7', 'h{c="New"} 2', 'h_bucket{le="1"} 4', 'h_bucket{le="+Inf"} 8');
    same(page.growth(before, now, 'h', { c: 'OK' }), 4);
    same(page.growth(before, now, 'missing'), undefined);
    same(page.growth(before, now, 'h', { c: 'New' }), undefined);
    same(page.growthBy(before, now, 'h', 'c'), [['OK', 4], ['New', 2]]);
    same(page.growthOfHistogram(before, now, 'h').counts, [2, 3]);
    same(page.growthOfHistogram(before, read('h_bucket{le="1"} 4'), 'h'), undefined);
  },

  'sees that the server was started anew'() {
    const first = read('process_start_time_seconds 1000.25', 'userd_connections_accepted_total 5');
    assert.ok(!page.hasRestarted(first, read('process_start_time_seconds 1000.25', 'userd_connections_accepted_total 6')));
    assert.ok(page.hasRestarted(first, read('process_start_time_seconds 1003.5', 'userd_connections_accepted_total 6')));
    assert.ok(page.hasRestarted(first, read('userd_connections_accepted_total 4')));
    assert.ok(!page.hasRestarted(read(''), read('')));
  },

  'reads percentiles as PromQL does'() {
    const found = { ends: [0.1, 0.2, 0.5, Infinity], counts: [10, 20, 10, 0] };
    const near = (share, expected) => assert.ok(Math.abs(page.quantile(found, share) - expected) < 1e-9,
      `${share}: ${page.quantile(found, share)}`);
    near(0.5, 0.15);
    near(0.25, 0.1);
    near(0.125, 0.05);
    near(1, 0.5);
    same(page.quantile({ ends: [0.1, Infinity], counts: [0, 5] }, 0.5), 0.1);
    same(page.quantile({ ends: [0.1, Infinity], counts: [0, 0] }, 0.5), undefined);
    same(page.quantile(undefined, 0.5), undefined);
    same(page.countOf(undefined), 0);
  },

  'writes numbers for people'() {
    const cases = [
      [page.formatNumber, [[0, '0'], [0.25, '0.25'], [9.994, '9.99'], [9.996, '10.0'], [99.96, '100'], [12345.6, '12,346'],
        [undefined, '–'], [NaN, '–']]],
      [page.formatMark, [[0, '0'], [0.25, '0.25'], [40, '40'], [12000, '12,000']]],
      [page.formatCount, [[0, '0'], [1234567, '1,234,567'], [undefined, '–']]],
      [page.formatDuration, [[0.00025, '250 µs'], [0.00000825, '8.25 µs'], [0.0009996, '1.00 ms'], [0.0125, '12.5 ms'],
        [0.9996, '1.00 s'], [100, '100 s'], [undefined, '–']]],
      [page.formatEnd, [[0.00001, '10 µs'], [0.0025, '2.5 ms'], [0.1, '100 ms'], [10, '10 s']]],
      [page.formatBytes, [[0, '0 B'], [999, '999 B'], [1000, '0.98 KiB'], [10 * 1024, '10.0 KiB'], [734003200, '700 MiB'],
        [2 ** 31, '2.00 GiB'], [undefined, '–']]],
      [page.formatSpan, [[0, '0 s'], [59.9, '59 s'], [61, '1 min 1 s'], [3600, '1 h 0 min'], [90061, '1 d 1 h'], [-5, '0 s'],
        [undefined, '–']]],
      [page.formatShare, [[0, '0 %'], [0.0004, '0.04 %'], [0.0123, '1.2 %'], [0.42, '42 %'], [0.00001, '< 0.01 %'], [1, '100 %'], [undefined, '–']]],
      [page.roundUp, [[0, 1], [1, 1], [10.1, 12], [34, 40], [7.9, 8], [99, 100], [0.012, 0.012], [-3, 1]]],
    ];
    for (const [format, pairs] of cases) {
      for (const [value, expected] of pairs) {
        assert.strictEqual(format(value), expected, `${format.name}(${value})`);
      }
    }
  },
};

let failed = 0;
for (const [name, test] of Object.entries(tests)) {
  try {
    test();
    console.log(`ok     ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED ${name}\n${error.stack}`);
  }
}
console.log(`${Object.keys(tests).length - failed} passed, ${failed} failed`);
process.exitCode = failed ? 1 : 0;
