// Which version a candidate is compared with.
import type { ModelAlias } from '@edgeloop/shared/api/models';

export interface Chosen {
  version: number | null;
  /** For people: why it is this one, or why there is none. */
  why: string;
}

/** The one that was asked for, else what is stable, else what most devices should run (of equals the newer). */
export function chooseBaseline({
  candidate,
  asked,
  aliases,
  deployed,
}: {
  candidate: number;
  asked: number | undefined;
  aliases: readonly Pick<ModelAlias, 'alias' | 'version'>[];
  deployed: ReadonlyMap<number, number>;
}): Chosen {
  if (asked !== undefined) return { version: asked, why: 'as asked' };
  const stable = aliases.find(({ alias }) => alias === 'stable')?.version;
  if (stable !== undefined && stable !== candidate) return { version: stable, why: 'it is stable' };
  const [most] = [...deployed]
    .filter(([version, devices]) => version !== candidate && devices > 0)
    .sort(([a, m], [b, n]) => n - m || b - a);
  if (most !== undefined) return { version: most[0], why: `${most[1]} devices should run it, more than any other` };
  return { version: null, why: 'no device should run another version' };
}
