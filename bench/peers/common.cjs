// What the servers on Node share: the users in memory, the check of tokens, the command line.
'use strict';

const crypto = require('node:crypto');
const fs = require('node:fs');
const { parseArgs } = require('node:util');

const FIRST_CREATED_MS = 1700000000000;
const GOOD_MAX = 10000; // tokens remembered

// --cert FILE --key FILE --secret FILE [--users N]
function readOptions() {
  const { values } = parseArgs({
    options: Object.fromEntries(['cert', 'key', 'secret', 'users']
      .map((name) => [name, { type: 'string' }])),
  });
  return {
    cert: fs.readFileSync(values.cert),
    key: fs.readFileSync(values.key),
    secret: fs.readFileSync(values.secret),
    users: Number(values.users ?? 0),
  };
}

// As bench/userbench_data.c makes it. Times as `number`: these are exact.
function makeUser(index) {
  const hex = (number, size) => number.toString(16).padStart(size, '0');
  const decimal = String(index).padStart(7, '0');
  return {
    id: `${hex(Math.imul(index, 2654435761) >>> 0, 8)}-0000-4000-8000-${hex(index, 12)}`,
    username: `user.number${decimal}`,
    email: `user.number${decimal}@example.com`,
    created_at: FIRST_CREATED_MS + index,
    roles: ['member'],
    status: 'USER_STATUS_ACTIVE',
    profile: {
      first_name: `First${index % 1000}`,
      last_name: `Last${Math.floor(index / 1000)}`,
      avatar_url: `https://cdn.example.com/avatars/${decimal}`,
    },
    updated_at: FIRST_CREATED_MS + index,
    etag: `"${(index + 1).toString(16)}"`,
  };
}

class Users {
  constructor(count) {
    this.byId = new Map();
    this.byUsername = new Map();
    this.byEmail = new Map();
    for (let i = 0; i < count; i += 1) this.add(makeUser(i));
    this.changes = count; // the last one's number is what an etag says
  }

  add(user) {
    this.byId.set(user.id, user);
    this.byUsername.set(user.username.toLowerCase(), user);
    this.byEmail.set(user.email.toLowerCase(), user);
    return user;
  }

  find(id) {
    return this.byId.get(id);
  }

  // Null when the name or the address is taken, upper and lower case being equal.
  create({ username, email }) {
    if (this.byUsername.has(username.toLowerCase()) || this.byEmail.has(email.toLowerCase())) {
      return null;
    }
    this.changes += 1;
    const now = Date.now();
    return this.add({
      id: crypto.randomUUID(),
      username,
      email,
      created_at: now,
      roles: [],
      status: 'USER_STATUS_ACTIVE',
      updated_at: now,
      etag: `"${this.changes.toString(16)}"`,
    });
  }
}

// Bearer tokens of HS256. A token that was found good is found so again by its text alone, until it
// expires.
class TokenCheck {
  constructor(secret) {
    this.secret = secret;
    this.good = new Map(); // field -> when it expires, ms
  }

  // `field` is the whole `authorization` field, or undefined.
  accepts(field) {
    let expiresAt = this.good.get(field);
    if (expiresAt === undefined) {
      expiresAt = this.verify(field);
      if (expiresAt === null) return false;
      if (this.good.size >= GOOD_MAX) this.good.clear();
      this.good.set(field, expiresAt);
    }
    return Date.now() < expiresAt;
  }

  // When it expires, or null.
  verify(field) {
    if (typeof field !== 'string' || !field.startsWith('Bearer ')) return null;
    const [head, claims, signature, ...rest] = field.slice('Bearer '.length).split('.');
    if (!signature || rest.length) return null;
    const given = Buffer.from(signature, 'base64url');
    const own = crypto.createHmac('sha256', this.secret).update(`${head}.${claims}`).digest();
    if (given.length !== own.length || !crypto.timingSafeEqual(given, own)) return null;
    try {
      const { alg } = JSON.parse(Buffer.from(head, 'base64url'));
      const { exp } = JSON.parse(Buffer.from(claims, 'base64url'));
      return alg === 'HS256' && Number.isFinite(exp) ? exp * 1000 : null;
    } catch {
      return null;
    }
  }
}

// The lines that say who this is and where it listens.
function tell(version, port) {
  fs.writeSync(1, `version ${version}, Node ${process.version}, OpenSSL ${process.versions.openssl}\n`
    + `listening 127.0.0.1:${port}\n`);
}

module.exports = { readOptions, Users, TokenCheck, tell };
