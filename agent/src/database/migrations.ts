// Steps of the device's schema in their order; `user_version` counts the steps done. A step is never changed, only added.
export const migrations: readonly string[] = [
  `
  CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE model_states (name TEXT PRIMARY KEY, state TEXT NOT NULL);
  CREATE TABLE outbox (
    sequence INTEGER PRIMARY KEY, kind TEXT NOT NULL, bytes INTEGER NOT NULL, item TEXT NOT NULL
  );
  CREATE TABLE predictions (
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT, inference_id TEXT NOT NULL UNIQUE, model TEXT NOT NULL,
    version INTEGER NOT NULL, predicted TEXT, at INTEGER NOT NULL, label TEXT
  );
  CREATE TABLE samples (
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT, inference_id TEXT NOT NULL UNIQUE, model TEXT NOT NULL,
    version INTEGER NOT NULL, at INTEGER NOT NULL, reason TEXT NOT NULL, features BLOB NOT NULL, predicted TEXT,
    score REAL, label TEXT, bytes INTEGER NOT NULL
  );
  CREATE INDEX samples_by_reason ON samples (reason, ordinal);
  `,
  `
  CREATE TABLE deaths (
    digest TEXT PRIMARY KEY, word TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL, count INTEGER NOT NULL,
    at INTEGER NOT NULL, detail TEXT NOT NULL, quarantined INTEGER NOT NULL
  );
  CREATE TABLE tunings (
    digest TEXT NOT NULL, hardware TEXT NOT NULL, tuning TEXT NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (digest, hardware)
  );
  CREATE TABLE proofs (digest TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
  `,
  `
  ALTER TABLE predictions ADD COLUMN release TEXT;
  ALTER TABLE samples ADD COLUMN release TEXT;
  `,
  `
  ALTER TABLE samples ADD COLUMN other TEXT;
  `,
  `
  CREATE TABLE prediction_blocks (
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT, answers INTEGER NOT NULL, block BLOB NOT NULL
  );
  `,
  `
  ALTER TABLE outbox ADD COLUMN packed BLOB;
  CREATE TABLE sample_blocks (
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT, waiting INTEGER NOT NULL, count INTEGER NOT NULL, bytes INTEGER NOT NULL,
    from_at INTEGER NOT NULL, to_at INTEGER NOT NULL, block BLOB NOT NULL
  );
  CREATE TABLE held_windows (ordinal INTEGER PRIMARY KEY AUTOINCREMENT, windows BLOB NOT NULL);
  DROP INDEX samples_by_reason;
  `,
  `
  ALTER TABLE outbox ADD COLUMN at INTEGER;
  `,
];
