// What the callers of one agent counted: the source that the control plane's numbers are compared with. Pure.

export interface Answer {
  model: string;
  version: number;
  /** The score that tells which bytes answered. */
  high: number;
}

/** Why there was no answer. `refused`: nobody listened. `cut`: the connection ended or stayed silent, perhaps after the run. */
export type Miss = 'refused' | 'cut' | `status ${number}`;

export interface Ledger {
  answered(answer: Answer, atMs: number): void;
  missed(model: string, miss: Miss, detail: string): void;
  /** Begins a round: gaps and misses of before are forgotten, counts stay. */
  begin(atMs: number): void;
  /** Nobody asks from now on, so that silence is none of the agent's. */
  rest(atMs: number): void;
  /** Answers of a version since the ledger was made. */
  count(model: string, version: number): number;
  versions(model: string): number[];
  /** Requests since the ledger was made of which nobody knows whether they were run. */
  uncertain(model: string): number;
  /** The last answer since `forget`. */
  last(model: string): Answer | undefined;
  /** What is asked for next must be answered anew. */
  forget(): void;
  /** Answers, misses by kind, and the longest time without an answer in this round. */
  round(model: string): RoundCounts;
}

interface RoundCounts {
  answered: number;
  /** One of each kind of answer. */
  answers: Map<string, Answer>;
  misses: Map<Miss, number>;
  /** One of each kind of miss. */
  examples: Map<Miss, string>;
  darkMs: number;
}

interface Account {
  byVersion: Map<number, number>;
  uncertain: number;
  last: Answer | undefined;
  lastAtMs: number | undefined;
  round: RoundCounts;
}

export function createLedger(): Ledger {
  const accounts = new Map<string, Account>();
  const accountOf = (model: string): Account => {
    const known = accounts.get(model);
    if (known) return known;
    const made = { byVersion: new Map(), uncertain: 0, last: undefined, lastAtMs: undefined, round: emptyRound() };
    accounts.set(model, made);
    return made;
  };
  return {
    answered(answer, atMs) {
      const account = accountOf(answer.model);
      const { byVersion, round } = account;
      byVersion.set(answer.version, (byVersion.get(answer.version) ?? 0) + 1);
      round.answered++;
      round.answers.set(`${answer.version} ${answer.high.toFixed(6)}`, answer);
      round.darkMs = Math.max(round.darkMs, atMs - (account.lastAtMs ?? atMs));
      account.last = answer;
      account.lastAtMs = atMs;
    },
    missed(model, miss, detail) {
      const account = accountOf(model);
      if (miss === 'cut') account.uncertain++;
      const { misses, examples } = account.round;
      misses.set(miss, (misses.get(miss) ?? 0) + 1);
      if (!examples.has(miss)) examples.set(miss, detail);
    },
    begin(atMs) {
      for (const account of accounts.values()) {
        account.round = emptyRound();
        account.lastAtMs = atMs;
      }
    },
    rest(atMs) {
      for (const account of accounts.values()) {
        if (account.lastAtMs !== undefined)
          account.round.darkMs = Math.max(account.round.darkMs, atMs - account.lastAtMs);
        account.lastAtMs = undefined;
      }
    },
    count: (model, version) => accountOf(model).byVersion.get(version) ?? 0,
    versions: (model) => [...accountOf(model).byVersion.keys()],
    uncertain: (model) => accountOf(model).uncertain,
    last: (model) => accountOf(model).last,
    forget() {
      for (const account of accounts.values()) account.last = undefined;
    },
    round: (model) => accountOf(model).round,
  };
}

function emptyRound(): RoundCounts {
  return { answered: 0, answers: new Map(), misses: new Map(), examples: new Map(), darkMs: 0 };
}
