// Which of the measured variants is used: pure, so that every outcome can be tried.
import type { Proof } from '../trying/prove.ts';
import type { Choice } from '../variant-files.ts';

export interface Tried {
  name: string;
  proof: Proof;
}

/** Less than this, in what is measured beside noise, is no reason to leave the order that was stated. */
const worthwhile = 1.05;

/** In the stated order. Without a choice all failed, and the proof is that of the first, with the words of all. */
export function quickest(tried: readonly Tried[]): { proof: Proof; choice?: Choice } {
  let best: Tried | undefined;
  for (const each of tried)
    if (each.proof.failure === undefined && (best === undefined || medianOf(each) * worthwhile < medianOf(best)))
      best = each;
  const words = tried.map(({ name, proof: { failure, measured } }) =>
    failure === undefined ? `${name} ${measured?.medianMs} ms` : `${name} failed: ${failure.message}`,
  );
  if (best !== undefined)
    return { proof: best.proof, choice: { variant: best.name, why: `the quickest here: ${words.join('; ')}` } };
  const failure = tried[0]?.proof.failure;
  return { proof: failure === undefined ? {} : { failure: { ...failure, message: words.join('; ') } } };
}

function medianOf({ proof: { measured } }: Tried): number {
  return measured?.medianMs ?? Number.POSITIVE_INFINITY;
}
