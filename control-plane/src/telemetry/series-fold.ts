// Puts what is read together by series and step.
import type { GroupBy } from '@edgeloop/shared/api/metrics';
import { AppError } from '@edgeloop/shared/errors';
import { groupOfDevice, isDeviceGroup, isLabelGroup, type KnownDevices } from './device-groups.ts';
import type { Origin } from './history.ts';
import { bucketOf, type TimeBuckets } from './time-buckets.ts';

export interface FoldScope {
  groupBy: readonly GroupBy[];
  buckets: TimeBuckets;
  /** Of these versions only; undefined: of all. */
  versions: ReadonlySet<string> | undefined;
  known: KnownDevices;
}

/** A series: its value in each step, by the beginning of the step. */
export interface Line {
  labels: Record<string, string>;
  quantile?: number;
  values: Map<number, number | null>;
}

/** What a share is of beside its origin. */
export type Part = Partial<Record<PartGroup, string>>;
type PartGroup = 'class' | 'predicted' | 'kind' | 'feature' | 'signal' | 'variant';

const maxSeries = 50_000;

/** @throws AppError `invalid_request` as soon as there are too many series */
export class SeriesFold<A> {
  readonly #scope: FoldScope;
  readonly #empty: () => A;
  readonly #lines = new Map<string, { labels: Record<string, string>; cells: Map<number, A> }>();

  constructor(scope: FoldScope, empty: () => A) {
    this.#scope = scope;
    this.#empty = empty;
  }

  /** The sum that a share belongs to; undefined when it is in no series: of another version, of a device without the label, of no variant. */
  at(origin: Origin, part?: Part): A | undefined {
    const { groupBy, buckets, versions } = this.#scope;
    if (versions !== undefined && !versions.has(origin.version)) return undefined;
    const values: string[] = [];
    for (const group of groupBy) {
      const value = this.#valueOf(group, origin, part);
      if (value === undefined) return undefined;
      values.push(value);
    }
    const { cells } = this.#line(values);
    const at = bucketOf(buckets, origin.at);
    let cell = cells.get(at);
    if (cell === undefined) {
      cell = this.#empty();
      cells.set(at, cell);
    }
    return cell;
  }

  lines(value: (state: A, at: number) => number | null): Line[] {
    return [...this.#lines.values()].map(({ labels, cells }) => ({
      labels,
      values: new Map([...cells].map(([at, state]) => [at, value(state, at)])),
    }));
  }

  #line(values: readonly string[]) {
    const key = values.join('\n');
    const known = this.#lines.get(key);
    if (known !== undefined) return known;
    const { groupBy } = this.#scope;
    if (this.#lines.size >= maxSeries)
      throw new AppError(
        'invalid_request',
        `groupBy=${groupBy.join(',')} makes more than ${maxSeries} series; narrow it by model, device or selector`,
      );
    const line = {
      labels: Object.fromEntries(groupBy.map((group, i) => [group, values[i] ?? ''])),
      cells: new Map<number, A>(),
    };
    this.#lines.set(key, line);
    return line;
  }

  #valueOf(group: GroupBy, origin: Origin, part: Part | undefined): string | undefined {
    switch (group) {
      case 'model':
      case 'version':
      case 'device':
        return origin[group];
      case 'class':
      case 'predicted':
      case 'kind':
      case 'feature':
      case 'signal':
      case 'variant':
        return part?.[group];
      default:
        if (isLabelGroup(group) && origin.label !== undefined) return origin.label;
        return isDeviceGroup(group) ? groupOfDevice(this.#scope.known.get(origin.device), group) : undefined;
    }
  }
}
