// Who holds an event, and which were settled: SQLite in a Durable Object, a row for each event, keyed by what it is about.

import { DurableObject } from "cloudflare:workers";

const LEASED = 0;
const COMMITTED = 1;
const REST_MS = 12 * 3600 * 1000;

export class EntityObject extends DurableObject {
  #sql;
  #armed = false;

  constructor(ctx, env) {
    super(ctx, env);
    this.#sql = ctx.storage.sql;
    this.#sql.exec(
      `CREATE TABLE IF NOT EXISTS claims (entity TEXT, event TEXT, status INTEGER, fence INTEGER, until INTEGER, rank INTEGER, state TEXT, PRIMARY KEY (entity, event)) WITHOUT ROWID`,
    );
  }

  /// { duplicate } | { inFlight: ms } | { sequence, ordering, state }. Nothing is waited for between reading and writing: it is one transaction.
  claim({ entity, event, rank, state, lease, window }) {
    const now = Date.now();
    let last = 0;
    let contradicted = false;
    let highest = { rank, state };
    for (const row of this.#sql.exec("SELECT event, status, fence, until, rank, state FROM claims WHERE entity = ?", entity)) {
      last = Math.max(last, row.fence);
      if (row.event !== event) {
        if (row.rank > highest.rank) highest = row;
        if (row.rank === rank && row.state !== state) contradicted = true;
        continue;
      }
      if (row.until <= now) continue;
      if (row.status === COMMITTED) return { duplicate: true };
      return { inFlight: row.until - now };
    }
    const sequence = Math.max(last + 1, now);
    this.#sql.exec("INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?, ?, ?, ?)", entity, event, LEASED, sequence, now + lease, rank, state);
    if (!this.#armed) {
      this.#armed = true;
      this.ctx.waitUntil(this.#arm(Math.min(window, REST_MS)));
    }
    const ordering = highest.rank > rank ? "superseded" : contradicted ? "out_of_sequence" : "in_order";
    return { sequence, ordering, state: highest.state };
  }

  commit({ entity, event, fence, window }) {
    const until = Date.now() + window;
    return this.#sql.exec("UPDATE claims SET status = ?, until = ? WHERE entity = ? AND event = ? AND fence = ?", COMMITTED, until, entity, event, fence).rowsWritten > 0;
  }

  release({ entity, event, fence }) {
    this.#sql.exec("UPDATE claims SET until = 0 WHERE entity = ? AND event = ? AND fence = ? AND status = ?", entity, event, fence, LEASED);
  }

  async alarm() {
    this.#sql.exec("DELETE FROM claims WHERE until < ?", Date.now());
    await this.ctx.storage.setAlarm(Date.now() + REST_MS);
  }

  async #arm(ms) {
    if ((await this.ctx.storage.getAlarm()) === null) await this.ctx.storage.setAlarm(Date.now() + ms);
  }
}
