// Operators that give the same elements in the same order other dimensions, and Transpose.
import { freshSize, type Operator, type Outcome, placeOf } from '../operator-call.ts';
import { isOne, numberOf, one, product, quotient, type Size, sameSize } from '../sizes.ts';
import { counted, fixed, isSize, type TensorState, type Value, withRows, withValues } from '../tensor-state.ts';

/** The same elements in these dimensions. */
function regrouped(x: TensorState, dims: readonly Size[]): Outcome {
  if (x.axis === undefined) {
    if (dims.some(({ rows }) => rows)) return 'it spreads over the rows what is none of theirs';
    if (x.values) return [withValues(dims, x.type, x.values)];
    return [x.counts ? counted(dims, x.type) : fixed(dims, x.type)];
  }
  const before = product(x.dims?.slice(0, x.axis) ?? []);
  // The rows lie in blocks one behind the other as long as what comes before them stays.
  for (let place = 0; place < dims.length; place++) {
    const size = dims[place] ?? one;
    const ahead = product(dims.slice(0, place));
    if (!size.rows || !before || !ahead || !sameSize(ahead, before)) continue;
    const others = dims.filter((_, i) => i !== place);
    return others.some(({ rows }) => rows)
      ? 'the number of rows stands twice in its shape'
      : [withRows(dims, place, x.type)];
  }
  return 'it makes new rows of parts of several';
}

export const reshape: Operator = (call) => {
  const x = call.first();
  const wanted = call.inputs[1]?.values ?? call.ints('shape')?.map((factor) => ({ factor, rows: false, names: [] }));
  if (!wanted) {
    if (x.axis === undefined && call.restFixed())
      return [x.counts ? counted(undefined, x.type) : fixed(undefined, x.type)];
    return 'its shape is not known before a run';
  }
  const dims = resolved(x, wanted, call.int('allowzero', 0) !== 0);
  return typeof dims === 'string' ? dims : regrouped(x, dims);
};

/** The dimensions that a shape with 0 (as it was) and -1 (what is left) asks for. */
function resolved({ dims: own, axis }: TensorState, wanted: readonly Value[], zeroIsZero: boolean): Size[] | string {
  if (wanted.includes('counted')) return 'its shape depends on the number of rows in a way that is not known';
  const hole = wanted.findIndex((value) => isSize(value) && numberOf(value) === -1);
  const dims = wanted.map((value, place): Size | undefined => {
    if (!isSize(value) || place === hole) return undefined;
    return numberOf(value) === 0 && !zeroIsZero ? own?.[place] : value;
  });
  const known = dims.filter((size) => size !== undefined);
  if (hole >= 0 && own && known.length === dims.length - 1) {
    const [all, others] = [product(own), product(known)];
    const left = all && others && quotient(all, others);
    if (left) dims[hole] = left;
  }
  // What is left over, or of an unknown size, is none of the rows' only where these stand elsewhere.
  const unknown = dims.some((size) => size === undefined);
  if (unknown && axis !== undefined && !known.some(({ rows }) => rows))
    return 'it is not known where its shape has the rows';
  return dims.map((size) => size ?? freshSize());
}

export const flatten: Operator = (call) => {
  const x = call.first();
  if (!x.dims) return [x];
  const at = placeOf(call.int('axis', 1), x.dims.length);
  const parts = [product(x.dims.slice(0, at)), product(x.dims.slice(at))];
  const dims = parts.filter((part) => part !== undefined);
  return dims.length < 2 ? 'the number of rows stands twice in its shape' : regrouped(x, dims);
};

export const squeeze: Operator = (call) => {
  const x = call.first();
  const { dims } = x;
  const axes = call.setting('axes', 1);
  if (!dims || axes === undefined) return x.axis === undefined ? [{ ...x, dims: undefined }] : 'its axes are not known';
  // Which dimensions are 1 may depend on the request.
  if (axes === null && dims.some((size) => numberOf(size) === undefined))
    return 'it leaves out a dimension when there is one row';
  const gone = new Set(axes?.map((axis) => placeOf(axis, dims.length)));
  const isGone = (size: Size, place: number): boolean => (axes === null ? isOne(size) : gone.has(place));
  if (x.axis !== undefined && isGone(dims[x.axis] ?? one, x.axis)) return 'it leaves out the dimension of the rows';
  const before = dims.filter((size, place) => place < (x.axis ?? 0) && isGone(size, place)).length;
  const left = dims.filter((size, place) => !isGone(size, place));
  return [{ ...x, dims: left, axis: x.axis === undefined ? undefined : x.axis - before }];
};

export const unsqueeze: Operator = (call) => {
  const x = call.first();
  const axes = call.setting('axes', 1);
  if (!x.dims || !axes) return x.axis === undefined ? [{ ...x, dims: undefined }] : 'its axes are not known';
  const rank = x.dims.length + axes.length;
  const added = new Set(axes.map((axis) => placeOf(axis, rank)));
  const kept = Array.from({ length: rank }, (_, place) => place).filter((place) => !added.has(place));
  const dims = Array.from({ length: rank }, (_, place) => x.dims?.[kept.indexOf(place)] ?? one);
  return [{ ...x, dims, axis: x.axis === undefined ? undefined : kept[x.axis] }];
};

export const transpose: Operator = (call) => {
  const x = call.first();
  const { dims } = x;
  if (!dims) return [{ ...x, values: undefined }];
  const order = call.ints('perm') ?? dims.map((_, place) => dims.length - 1 - place);
  const turned = order.map((place) => dims[place] ?? one);
  const axis = x.axis === undefined ? undefined : order.indexOf(x.axis);
  return [{ ...x, dims: turned, axis, values: dims.length < 2 ? x.values : undefined }];
};
