// Arithmetic with sizes, as graphs do it to say how large a tensor is to be.
import { constant, isOne, numberOf, product, quotient, type Size, sameSize } from './sizes.ts';
import { isCounted, isSize, type TensorState, type Value } from './tensor-state.ts';

type Rule = (a: Size, b: Size) => Size | undefined;

const numbers =
  (of: (a: number, b: number) => number): Rule =>
  (a, b) => {
    const [left, right] = [numberOf(a), numberOf(b)];
    return left === undefined || right === undefined ? undefined : constant(of(left, right));
  };

const rules: Readonly<Record<string, Rule>> = {
  Add: (a, b) => (numberOf(a) === 0 ? b : numberOf(b) === 0 ? a : numbers((left, right) => left + right)(a, b)),
  Sub: (a, b) => {
    if (numberOf(b) === 0) return a;
    return sameSize(a, b) ? constant(0) : numbers((left, right) => left - right)(a, b);
  },
  Mul: (a, b) => product([a, b]),
  Div: (a, b) => quotient(a, b) ?? numbers((left, right) => Math.trunc(left / right))(a, b),
  Equal: equality,
  Max: (a, b) => (sameSize(a, b) ? a : numbers(Math.max)(a, b)),
  Min: (a, b) => (sameSize(a, b) ? a : numbers(Math.min)(a, b)),
};

/** What an operator makes of small tensors whose elements are known; undefined when that is not known either. */
export function combined(opType: string, inputs: readonly TensorState[]): Value[] | undefined {
  const lists = inputs.map(({ values }) => values);
  if (!lists.every((list) => list !== undefined)) return undefined;
  const length = Math.max(...lists.map((list) => list.length));
  if (lists.some((list) => list.length !== length && list.length !== 1)) return undefined;
  const at = (place: number) => lists.map((list) => list[list.length === 1 ? 0 : place] ?? 'fixed');
  return Array.from({ length }, (_, place) => combine(opType, at(place)));
}

function combine(opType: string, values: readonly Value[]): Value {
  const known = opType === 'Where' ? picked(values) : folded(opType, values);
  return known ?? (values.some(isCounted) ? 'counted' : 'fixed');
}

function folded(opType: string, values: readonly Value[]): Value | undefined {
  const rule = rules[opType];
  const [first, ...rest] = values;
  let result: Size | undefined = isSize(first) ? first : undefined;
  for (const value of rest) result = rule && result && isSize(value) ? rule(result, value) : undefined;
  return rule && result;
}

function picked([condition, yes, no]: readonly Value[]): Value | undefined {
  const told = isSize(condition) ? numberOf(condition) : undefined;
  if (told === undefined) return undefined;
  return told === 0 ? no : yes;
}

/** A size is never negative. */
function equality(a: Size, b: Size): Size | undefined {
  if (sameSize(a, b)) return constant(1);
  const [left, right] = [numberOf(a), numberOf(b)];
  if (left !== undefined && right !== undefined) return constant(0);
  return (left ?? 0) < 0 || (right ?? 0) < 0 ? constant(0) : undefined;
}

/** Product of all elements. */
export function productOf(values: readonly Value[]): Value {
  const sizes = values.filter(isSize).filter((size) => !isOne(size));
  const known = sizes.length + values.filter((value) => isSize(value) && isOne(value)).length === values.length;
  return (known ? product(sizes) : undefined) ?? (values.some(isCounted) ? 'counted' : 'fixed');
}
