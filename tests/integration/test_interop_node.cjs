#!/usr/bin/env node
// The interop server and the JavaScript stacks, @grpc/grpc-js and Connect, over TLS and in clear text.
'use strict';

const { spawnSync } = require('node:child_process');
const path = require('node:path');

const conformance = path.join(__dirname, '..', 'conformance');
const harness = path.join(conformance, 'interop_harness.py');
const sum = { passed: 0, failed: 0 };

for (const client of ['interop_test.cjs', 'interop_connect.cjs']) {
  for (const kind of ['tls', 'clear']) {
    const ran = spawnSync('/usr/bin/python3', [harness, kind, process.execPath, path.join(conformance, client)],
      { encoding: 'utf8' });
    const found = /^(\d+) passed, (\d+) failed$/m.exec(ran.stdout);
    process.stdout.write(ran.stdout.replace(/^\d+ passed, \d+ failed\n/m, '') + ran.stderr);
    sum.passed += Number(found?.[1] ?? 0);
    sum.failed += Number(found?.[2] ?? 0);
    if (!found || (ran.status !== 0 && found[2] === '0')) {
      console.log(`FAILED ${client}, ${kind}: ended with ${ran.status}`);
      sum.failed += 1;
    }
  }
}
console.log(`${sum.passed} passed, ${sum.failed} failed`);
process.exitCode = sum.failed ? 1 : 0;
