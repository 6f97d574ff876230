// Tries whether rows stay apart: some alone, then the same in company, of other values, other magnitudes and in another order.
// Bounded in time: how long a run takes depends on shapes alone in all that is tried, so that the first ones tell.

import { messageOf } from '@edgeloop/shared/app-error';
import type { GoldenSamples } from '@edgeloop/shared/golden';
import { type NamedTensor, tensorFromJson } from '@edgeloop/shared/tensor-data';
import type { ModelSignature } from '@edgeloop/shared/tensors';
import { type Flavour, madeUpRow, type RowInput, together } from './probe-rows.ts';
import { rowDifference } from './row-difference.ts';

export interface ProbeOptions {
  signature: ModelSignature;
  golden: GoldenSamples | undefined;
  run(inputs: readonly NamedTensor[]): Promise<NamedTensor[]>;
  /** Of the thread's processor where that is known: others may keep it from running. */
  nowMs(): number;
}

export interface ProbeResult {
  /** Why requests must not share runs. */
  against: string | undefined;
  /** Runs with several rows. */
  tried: number;
}

/** For free dimensions that are not the rows'; the first that the model takes. */
const freeSizes = [4, 16, 32, 64, 224, 1];
const integerBounds = [100, 2];
const flavours: readonly Flavour[] = ['usual', 'large', 'small', 'usual', 'strange', 'usual', 'large', 'usual'];
/** Rows by their places in `flavours`; the first ones are tried in any case. */
const companies = [
  [1, 0],
  [2, 0, 1],
  [0, 1, 2, 3],
  [3, 4, 0],
  [7, 6, 5, 4, 3, 2, 1, 0],
  [0, 0],
  [5, 7, 0, 2, 6],
];
const companiesAtLeast = 2;
/** Rows that run in those, alone and in company. */
const rowsAtLeast = 8;
const budgetMs = 800;

/** Of a model that the walk over its graph lets pass. */
export async function probe(options: ProbeOptions): Promise<ProbeResult> {
  const { run, nowMs } = options;
  const started = nowMs();
  const maker = await findRows(options, started + budgetMs / 2);
  if (typeof maker === 'string') return { against: maker, tried: 0 };
  const lone = createLone(run, maker);
  const begun = nowMs();
  await lone(0);
  const tookMs = nowMs() - begun;
  if (tookMs * rowsAtLeast > budgetMs)
    return { against: `a run takes ${Math.round(tookMs)} ms, too long to try it in company`, tried: 0 };
  let tried = 0;
  for (const company of companies) {
    if (tried >= companiesAtLeast && nowMs() - started > budgetMs) break;
    const members: Lone[] = [];
    for (const place of company) members.push(...((await lone(place)) ?? []));
    if (members.length < company.length) continue;
    const against = await differenceIn(run, members);
    tried++;
    if (against !== undefined) return { against, tried };
  }
  return {
    against: tried < companiesAtLeast ? 'it takes too few of the rows that were made up to try it' : undefined,
    tried,
  };
}

type MakeRow = (place: number) => NamedTensor[];

interface Lone {
  inputs: NamedTensor[];
  outputs: NamedTensor[];
}

/** Made-up rows that the model takes, or why there are none. */
async function findRows({ signature, golden, run, nowMs }: ProbeOptions, deadline: number): Promise<MakeRow | string> {
  let reason = 'there was no time';
  const shapes = [...goldenShapes(signature, golden), ...freeSizes.map((size) => shapesOf(signature, size))];
  const isFree = signature.inputs.some(({ shape }) => shape.slice(1).includes(-1));
  for (const inputs of isFree ? shapes : shapes.slice(0, 1)) {
    for (const integersBelow of integerBounds) {
      if (nowMs() > deadline) break;
      const make: MakeRow = (place) =>
        madeUpRow(inputs, { flavour: flavours[place] ?? 'usual', seed: place + 1, integersBelow });
      try {
        await run(make(0));
        return make;
      } catch (error) {
        reason = messageOf(error);
      }
    }
  }
  return `it takes none of the rows that were made up to try it: ${reason}`;
}

function shapesOf({ inputs }: ModelSignature, free: number): RowInput[] {
  return inputs.map((spec) => ({
    spec,
    shape: spec.shape.map((dim, place) => (place === 0 ? 1 : dim === -1 ? free : dim)),
  }));
}

/** As the golden samples have them. */
function goldenShapes({ inputs }: ModelSignature, golden: GoldenSamples | undefined): RowInput[][] {
  const [sample] = golden?.samples ?? [];
  if (!sample) return [];
  const found = inputs.flatMap((spec) => {
    const tensor = sample.inputs[spec.name];
    if (!tensor) return [];
    const { shape } = tensorFromJson({ name: spec.name, ...tensor });
    return [{ spec, shape: [1, ...shape.slice(1)] }];
  });
  return found.length === inputs.length ? [found] : [];
}

/** The answer to each row alone, once; none where the model refuses it, such as for floats that are no numbers. */
function createLone(run: ProbeOptions['run'], make: MakeRow): (place: number) => Promise<[Lone] | undefined> {
  const known = new Map<number, [Lone] | undefined>();
  return async (place) => {
    if (known.has(place)) return known.get(place);
    const inputs = make(place);
    // Refused alone, it is refused in company, and then each runs alone.
    const answer = await run(inputs).then(
      (outputs): [Lone] => [{ inputs, outputs }],
      () => undefined,
    );
    known.set(place, answer);
    return answer;
  };
}

async function differenceIn(run: ProbeOptions['run'], members: readonly Lone[]): Promise<string | undefined> {
  const rows = members.length;
  let joined: NamedTensor[];
  try {
    joined = await run(together(members.map(({ inputs }) => inputs)));
  } catch (error) {
    return `${rows} rows at once fail: ${messageOf(error)}`;
  }
  for (const [at, { outputs }] of members.entries()) {
    const difference = rowDifference(outputs, joined, { at, rows });
    if (difference !== undefined) return `${difference} among ${rows} rows`;
  }
  return undefined;
}
