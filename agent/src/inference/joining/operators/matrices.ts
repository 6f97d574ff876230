// Products of matrices: rows stay apart where nothing is summed over them.
import { freshSize, type Operator, type Outcome } from '../operator-call.ts';
import { constant, isOne, one, type Size, sameSize } from '../sizes.ts';
import { counted, fixed, type TensorState, withRows } from '../tensor-state.ts';

/** `a` times `b`, of the given type. */
export function multiplied(a: TensorState, b: TensorState, type: number): Outcome {
  if (a.axis === undefined && b.axis === undefined) {
    const dims = a.dims && b.dims ? productDims(a.dims, b.dims) : undefined;
    return [a.counts || b.counts ? counted(dims, type) : fixed(dims, type)];
  }
  if (a.counts || b.counts) return 'it takes the number of rows for a value';
  if (!a.dims || !b.dims) return 'the shape of one of its inputs is not known';
  // A vector is summed over whole.
  const rank = Math.max(a.dims.length, b.dims.length);
  const [left, right] = [placeOfRows(a, rank), placeOfRows(b, rank)];
  if (left === rank - 1 || right === rank - 2 || (b.dims.length === 1 && b.axis !== undefined))
    return 'it sums over the rows';
  if (left !== undefined && right !== undefined && (left !== right || left >= rank - 2))
    return 'it brings each row together with all rows';
  const place = left ?? right ?? 0;
  const other = left === undefined ? a : right === undefined ? b : undefined;
  const [size, facing] = [sizeAt(left === undefined ? b : a, place, rank), other && sizeAt(other, place, rank)];
  // The last two dimensions of a product come from one side alone.
  if (place < rank - 2 && facing && !isOne(facing)) return 'one of its inputs does not have the rows of the others';
  if (!other && !sameSize(size, sizeAt(b, place, rank)))
    return 'one of its inputs does not have the rows of the others';
  const dims = productDims(a.dims, b.dims);
  return [withRows(dims, place === rank - 1 ? dims.length - 1 : place, type)];
}

function placeOfRows({ axis, dims = [] }: TensorState, rank: number): number | undefined {
  return axis === undefined ? undefined : axis + rank - dims.length;
}

function sizeAt({ dims = [] }: TensorState, place: number, rank: number): Size {
  return dims[place - rank + dims.length] ?? one;
}

function productDims(a: readonly Size[], b: readonly Size[]): Size[] {
  const [left, right] = [a.slice(0, -2), b.slice(0, -2)];
  const rank = Math.max(left.length, right.length);
  const outer = Array.from({ length: rank }, (_, place): Size => {
    const [x, y] = [left[place - rank + left.length] ?? one, right[place - rank + right.length] ?? one];
    if (isOne(y) || sameSize(x, y) || x.rows) return x;
    return isOne(x) || y.rows ? y : freshSize();
  });
  return [...outer, ...a.slice(-2, -1), ...(b.length > 1 ? b.slice(-1) : [])];
}

export const matMul: Operator = (call) => {
  const [a, b] = call.inputs;
  return a && b ? multiplied(a, b, a.type) : 'an input is missing';
};

export const gemm: Operator = (call) => {
  const [a, b, c] = call.inputs;
  if (!a || !b) return 'an input is missing';
  const [x, y] = [turned(a, call.int('transA', 0)), turned(b, call.int('transB', 0))];
  const made = multiplied(x, y, a.type);
  const [result] = typeof made === 'string' ? [] : made;
  if (!c || !result) return made;
  if (result.axis === undefined) return c.axis === undefined ? made : 'it adds the rows to what has none';
  if (c.counts) return 'it takes the number of rows for a value';
  const { dims: added } = c;
  if (!added) return 'the shape of one of its inputs is not known';
  const facing = added[result.axis - 2 + added.length];
  const size = result.dims?.[result.axis];
  const fits =
    c.axis === undefined ? !facing || isOne(facing) : facing && size && facing.rows && sameSize(facing, size);
  return fits ? made : 'one of its inputs does not have the rows of the others';
};

function turned(x: TensorState, turns: number): TensorState {
  if (turns === 0 || x.dims?.length !== 2) return x;
  return { ...x, dims: x.dims.toReversed(), axis: x.axis === undefined ? undefined : 1 - x.axis, values: undefined };
}

/** `bij,jk->bik`: rows stay apart where their letter is in the result and in no input that has none. */
export const einsum: Operator = (call) => {
  const equation = call.text('equation', '').replaceAll(/\s/g, '');
  const [left, right] = equation.split('->');
  const inputs = call.inputs.filter((input) => input !== undefined);
  if (inputs.some(({ counts }) => counts)) return 'it takes the number of rows for a value';
  const terms = left?.split(',') ?? [];
  if (right === undefined || !/^[a-zA-Z,]*$/.test(equation.replace('->', '')) || terms.length !== inputs.length)
    return inputs.every(({ axis }) => axis === undefined)
      ? [fixed(undefined, call.first().type)]
      : 'its equation is not looked at';
  const sizes = new Map<string, Size>();
  const rowLetters = new Set<string>();
  for (const [i, { dims, axis }] of inputs.entries()) {
    const term = terms[i] ?? '';
    if (!dims || dims.length !== term.length)
      return inputs.every((each) => each.axis === undefined)
        ? [fixed(undefined, call.first().type)]
        : 'a shape is not known';
    for (const [place, letter] of [...term].entries()) {
      const size = dims[place] ?? one;
      if (place === axis) rowLetters.add(letter);
      if (!sizes.has(letter) || isOne(sizes.get(letter) ?? one)) sizes.set(letter, size);
    }
  }
  return einsumOf({ terms, right, inputs, sizes, rowLetters });
};

interface Equation {
  terms: readonly string[];
  right: string;
  inputs: readonly TensorState[];
  sizes: ReadonlyMap<string, Size>;
  rowLetters: ReadonlySet<string>;
}

function einsumOf({ terms, right, inputs, sizes, rowLetters }: Equation): Outcome {
  const type = inputs[0]?.type ?? 0;
  const dims = [...right].map((letter) => sizes.get(letter) ?? constant(1));
  const [letter, ...more] = rowLetters;
  if (letter === undefined) return [fixed(dims, type)];
  const place = right.indexOf(letter);
  if (place < 0) return 'it sums over the rows';
  const alone = inputs.every(({ axis }, i) => {
    const term = terms[i] ?? '';
    const times = term.split(letter).length - 1;
    return axis === undefined ? times === 0 : times === 1 && term[axis] === letter;
  });
  if (more.length > 0 || !alone || right.split(letter).length !== 2) return 'it brings each row together with all rows';
  const [size, ...others] = inputs.flatMap(({ axis, dims: own }) => (axis === undefined ? [] : [own?.[axis] ?? one]));
  if (!size || others.some((other) => !sameSize(other, size))) return 'the rows of its inputs are of different sizes';
  return [withRows(dims.with(place, size), place, type)];
}
