// Sizes of dimensions as far as they are known before a run: a number, times the number of rows or not, times sizes that
// are the same for all requests that may be joined (a free dimension of the file) without being known.

export interface Size {
  readonly factor: number;
  /** Times the number of rows. */
  readonly rows: boolean;
  /** Times these, in order. */
  readonly names: readonly string[];
}

export function constant(factor: number): Size {
  return { factor, rows: false, names: [] };
}

export function named(name: string): Size {
  return { factor: 1, rows: false, names: [name] };
}

export const one = constant(1);
export const rowCount: Size = { factor: 1, rows: true, names: [] };

export function isConstant({ rows, names }: Size): boolean {
  return !rows && names.length === 0;
}

/** The number, if it is one. */
export function numberOf(size: Size): number | undefined {
  return isConstant(size) ? size.factor : undefined;
}

export function isOne(size: Size): boolean {
  return numberOf(size) === 1;
}

export function sameSize(a: Size, b: Size): boolean {
  return a.factor === b.factor && a.rows === b.rows && a.names.join() === b.names.join();
}

/** Undefined when the number of rows would stand in it twice. */
export function product(sizes: readonly Size[]): Size | undefined {
  if (sizes.filter(({ rows }) => rows).length > 1) return undefined;
  return {
    factor: sizes.reduce((all, { factor }) => all * factor, 1),
    rows: sizes.some(({ rows }) => rows),
    names: sizes.flatMap(({ names }) => names).sort(),
  };
}

/** Undefined when it is not known to be a whole number. */
export function quotient(a: Size, b: Size): Size | undefined {
  if (b.factor === 0 || (b.rows && !a.rows)) return undefined;
  const names = [...a.names];
  for (const name of b.names) {
    const at = names.indexOf(name);
    if (at < 0) return undefined;
    names.splice(at, 1);
  }
  const factor = a.factor / b.factor;
  return Number.isInteger(factor) ? { factor, rows: a.rows && !b.rows, names } : undefined;
}
