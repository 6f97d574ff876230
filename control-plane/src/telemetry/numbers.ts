// Which numbers of a device's outbox were taken before. A device counts up and sends from the lowest that is not acknowledged,
// so that nearly always all up to a floor are taken and none above; what came out of order stands one by one. Pure.

export interface Taken {
  /** All up to this one. */
  floor: number;
  /** Those above that came before one below them. */
  above: ReadonlySet<number>;
}

export interface Taking extends Taken {
  /** Those that nobody had taken. */
  fresh: number[];
}

/** Of so many that stand one by one the lower ones are let go: a device never sends again what is so far behind. */
const mostAbove = 1000;
const keptAbove = 500;

export function takeNumbers({ floor: before, above: known }: Taken, numbers: readonly number[]): Taking {
  const above = new Set(known);
  const fresh: number[] = [];
  for (const number of numbers) {
    if (number <= before || above.has(number)) continue;
    above.add(number);
    fresh.push(number);
  }
  return { fresh, ...settled(before, above) };
}

function settled(before: number, above: Set<number>): Taken {
  let floor = before;
  while (above.delete(floor + 1)) floor += 1;
  if (above.size <= mostAbove) return { floor, above };
  const ascending = [...above].sort((a, b) => a - b);
  const raised = ascending[ascending.length - keptAbove - 1] ?? floor;
  return settled(raised, new Set(ascending.slice(-keptAbove)));
}
