// Of what a range of time is put together: rollups as coarse as they fit, finer ones towards its ends, single windows at last.
// Pure; a window belongs to the instant it began.

/** Windows by themselves, or put together in spans of so many milliseconds. */
type Grain = 'windows' | number;

export interface Source {
  grain: Grain;
  /** What began before this instant is not kept any more. */
  keptFrom: number;
}

export interface Piece {
  grain: Grain;
  from: number;
  to: number;
}

interface Range {
  from: number;
  to: number;
  /** Series have a point per step; undefined: one point. */
  stepMs: number | undefined;
}

/**
 * Pieces that follow one another and together are the range. `sources` go from the coarsest to the windows. Rollups that are
 * coarser than a step are taken only where nothing finer is kept: there each counts where it began.
 */
export function coverOf({ from, to, stepMs }: Range, sources: readonly Source[]): Piece[] {
  const fitting = sources.filter(({ grain }) => grain === 'windows' || stepMs === undefined || stepMs % grain === 0);
  return tile({ from, to }, fitting).flatMap((piece) => asKept(piece, sources));
}

function tile({ from, to }: Pick<Range, 'from' | 'to'>, [source, ...finer]: readonly Source[]): Piece[] {
  if (from >= to || source === undefined) return [];
  const { grain } = source;
  if (grain === 'windows') return [{ grain, from, to }];
  const first = Math.ceil(from / grain) * grain;
  const end = Math.floor(to / grain) * grain;
  if (first >= end) return tile({ from, to }, finer);
  return [...tile({ from, to: first }, finer), { grain, from: first, to: end }, ...tile({ from: end, to }, finer)];
}

/** Where a piece is not kept any more, the finest that is, whose spans count where they begin. */
function asKept(piece: Piece, sources: readonly Source[]): Piece[] {
  const own = sources.findIndex(({ grain }) => grain === piece.grain);
  const keptFrom = sources[own]?.keptFrom ?? 0;
  if (keptFrom <= piece.from || own <= 0) return [piece];
  const coarser = sources[own - 1];
  if (coarser === undefined) return [piece];
  const border = Math.min(piece.to, keptFrom);
  const older = asKept({ grain: coarser.grain, from: piece.from, to: border }, sources);
  return border < piece.to ? [...older, { ...piece, from: border }] : older;
}
