// Sequences: requests that belong together, for models that say what they take on from one run to the next, or that are to be
// told where in a sequence a request stands. What a run left is kept here, and goes into the next one of the same sequence. Its
// requests run one after the other, in the order in which they came.
//
// INVARIANTS
// - A sequence has a lease: it ends on the version on which it began, whatever answers meanwhile.
// - Whoever enters leaves, once; a sequence that has ended gives back its lease with the last who leaves.
import { AppError } from '@edgeloop/shared/errors';
import { controlTensors } from '@edgeloop/shared/meaning/sequence-controls';
import { type NamedTensor, sizeBytes } from '@edgeloop/shared/tensor-data';
import type { Engine, ModelLease } from '../inference/engine.ts';

/** What a request says of its sequence. */
export interface SequenceAsk {
  id: string;
  /** It is the first one; whatever there was of this id is over. */
  start: boolean;
  /** It is the last one. */
  end: boolean;
}

/** One request of a sequence, whose turn it is. */
export interface SequenceStep {
  readonly lease: ModelLease;
  /**
   * With what was left for it in the place of states, and where it stands, as far as it does not send these itself.
   * @throws AppError `invalid_request` for an id that the model cannot be told
   */
  withOwn(inputs: readonly NamedTensor[]): NamedTensor[];
  /** What the run leaves for the next one. */
  keep(outputs: readonly NamedTensor[]): void;
  /** To be called once, whatever came of it. */
  leave(): void;
}

export interface Sequences {
  /**
   * Waits for the turn of the request. `lease`: the version that was asked for, on which a sequence begins.
   * @throws AppError `invalid_request` for a sequence that is not known, `too_many_requests` where there are too many
   */
  enter(lease: ModelLease, ask: SequenceAsk): Promise<SequenceStep>;
  /** The version is about to go: resolves when its sequences have ended, which they are made to after a while. */
  leaving(name: string, version: number): Promise<void>;
  /** Ends all. */
  close(): void;
}

export interface SequencesOptions {
  engine: Pick<Engine, 'lease'>;
  /** Monotonic clock in milliseconds. */
  nowMs(): number;
  /** How long sequences may go on whose version is to go. */
  lingerMs?: number;
}

interface Sequence {
  id: string;
  lease: ModelLease;
  /** By the name of the input. */
  states: ReadonlyMap<string, NamedTensor>;
  /** Ends with the turn of the last who entered. */
  last: Promise<void>;
  /** Those who have their turn or wait for it. */
  inside: number;
  /** Another one has its id, or none. */
  over: boolean;
  /** Its last request was answered. */
  ended: boolean;
  usedMs: number;
}

/** Of all states together. */
const mostBytes = 64 * 1024 * 1024;
const usual = { idleSeconds: 60, most: 256 };
const usualLingerMs = 20_000;
const lookEveryMs = 1000;

export function createSequences({ engine, nowMs, lingerMs = usualLingerMs }: SequencesOptions): Sequences {
  /** By model and id. */
  const all = new Map<string, Sequence>();
  /** Who waits for sequences to end. */
  const waiting = new Set<() => void>();
  let heldBytes = 0;
  let timer: NodeJS.Timeout | undefined;

  const setStates = (sequence: Sequence, states: Sequence['states']): void => {
    heldBytes += bytesOf(states) - bytesOf(sequence.states);
    sequence.states = states;
  };

  const end = (sequence: Sequence): void => {
    sequence.over = true;
    const key = keyOf(sequence.lease.name, sequence.id);
    if (all.get(key) === sequence) all.delete(key);
    if (all.size === 0) {
      clearInterval(timer);
      timer = undefined;
    }
    if (sequence.inside > 0) return;
    setStates(sequence, new Map());
    sequence.lease.release();
    for (const look of [...waiting]) look();
  };

  const look = (): void => {
    for (const sequence of [...all.values()]) {
      const { idleSeconds } = rulesOf(sequence.lease);
      if (sequence.inside === 0 && nowMs() - sequence.usedMs > idleSeconds * 1000) end(sequence);
    }
  };

  const begin = ({ name, version, model }: ModelLease, id: string): Sequence => {
    const { most } = rulesOf({ model });
    const others = [...all.values()].filter(({ lease }) => lease.name === name).length;
    if (others >= most || heldBytes > mostBytes) throw tooMany(name, others);
    const lease = engine.lease(name, version);
    const states = new Map<string, NamedTensor>();
    const sequence = {
      id,
      lease,
      states,
      last: Promise.resolve(),
      inside: 0,
      over: false,
      ended: false,
      usedMs: nowMs(),
    };
    all.set(keyOf(name, id), sequence);
    timer ??= setInterval(look, lookEveryMs).unref();
    return sequence;
  };

  const sequenceFor = (lease: ModelLease, { id, start }: SequenceAsk): Sequence => {
    const known = all.get(keyOf(lease.name, id));
    if (start) {
      if (known) end(known);
      return begin(lease, id);
    }
    if (known) return known;
    throw unknown(lease, id);
  };

  return {
    async enter(asked, ask) {
      const sequence = sequenceFor(asked, ask);
      const { lease } = sequence;
      const before = sequence.last;
      let pass = (): void => undefined;
      sequence.last = new Promise((resolve) => {
        pass = resolve;
      });
      sequence.inside++;
      const leave = (): void => {
        sequence.inside--;
        sequence.usedMs = nowMs();
        if (sequence.ended || sequence.over) end(sequence);
        pass();
      };
      await before;
      if (sequence.ended) {
        leave();
        throw unknown(lease, ask.id);
      }
      return {
        lease: { ...lease, release: () => undefined },
        withOwn: (inputs) => withOwn(inputs, sequence, ask),
        keep(outputs) {
          setStates(sequence, statesIn(outputs, lease));
        },
        leave() {
          sequence.ended ||= ask.end;
          leave();
        },
      };
    },
    leaving(name, version) {
      const theirs = () => [...all.values()].filter(({ lease }) => lease.name === name && lease.version === version);
      if (theirs().length === 0) return Promise.resolve();
      return new Promise((resolve) => {
        const done = (): void => {
          if (theirs().length > 0) return;
          clearTimeout(late);
          waiting.delete(done);
          resolve();
        };
        const late = setTimeout(() => {
          for (const sequence of theirs()) end(sequence);
          done();
        }, lingerMs);
        waiting.add(done);
      });
    },
    close() {
      for (const sequence of [...all.values()]) end(sequence);
    },
  };
}

function keyOf(name: string, id: string): string {
  return `${name}\n${id}`;
}

function rulesOf({ model }: Pick<ModelLease, 'model'>): { idleSeconds: number; most: number } {
  return { ...usual, ...model.files.manifest.sequences };
}

function unknown({ name }: ModelLease, id: string): AppError {
  const reason = 'it has ended, was silent for too long, or never began; its first request says sequence_start';
  return new AppError('invalid_request', `sequence ${id} of model "${name}" is not known: ${reason}`);
}

function tooMany(name: string, others: number): AppError {
  const message = `${others} sequences of model "${name}" go on, or all of them hold too much; end some, or try again later`;
  return new AppError('too_many_requests', message, { retryAfterSeconds: 1 });
}

/** What the caller sends himself counts; before the first run a state is what the manifest says. */
function withOwn(inputs: readonly NamedTensor[], { lease, states }: Sequence, ask: SequenceAsk): NamedTensor[] {
  const { interpretation } = lease.model;
  const given = new Set(inputs.map(({ name }) => name));
  const missing = [...interpretation.states.keys()].filter((name) => !given.has(name));
  const left = missing.flatMap((name) => states.get(name) ?? interpretation.constants.get(name) ?? []);
  const controls = controlTensors(
    interpretation.controls.filter(({ spec }) => !given.has(spec.name)),
    ask,
  );
  if (typeof controls === 'string')
    throw new AppError('invalid_request', `request.parameters.sequence_id: ${controls}`);
  return [...inputs, ...left, ...controls];
}

/** Copied: an output may be a part of an answer that others share. */
function statesIn(outputs: readonly NamedTensor[], { model }: ModelLease): Map<string, NamedTensor> {
  const states = new Map<string, NamedTensor>();
  for (const [name, from] of model.interpretation.states) {
    const output = outputs.find((each) => each.name === from);
    if (output) states.set(name, { ...output, name, data: output.data.slice() });
  }
  return states;
}

function bytesOf(states: ReadonlyMap<string, NamedTensor>): number {
  return [...states.values()].reduce((sum, state) => sum + sizeBytes(state), 0);
}
