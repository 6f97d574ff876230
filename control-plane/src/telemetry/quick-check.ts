// A schema's check without its parsing: whether a value is accepted and comes out of the schema as it went in. What is not so
// plain is asked of the schema itself, so that both accept and refuse the same.
import { isDeepStrictEqual } from 'node:util';
import { parse } from '@edgeloop/shared/errors';
import { z } from 'zod';

type Check = (value: unknown) => boolean;

/** As `parse`, at a fraction of the cost for a value that has nothing to be left out. */
export function createQuickParse<S extends z.ZodType>(schema: S, what: string): (value: unknown) => z.output<S> {
  const check = checkOf(schema);
  const isPlain = (value: unknown): value is z.output<S> => check(value);
  return (value) => (isPlain(value) ? value : parse(schema, value, what));
}

function checkOf(schema: z.core.$ZodType): Check {
  if (schema instanceof z.ZodObject) return objectCheck(schema) ?? slowCheck(schema);
  if (schema instanceof z.ZodRecord) return recordCheck(schema) ?? slowCheck(schema);
  if (schema instanceof z.ZodArray) return arrayCheck(schema) ?? slowCheck(schema);
  if (schema instanceof z.ZodTuple) return tupleCheck(schema) ?? slowCheck(schema);
  if (schema instanceof z.ZodDiscriminatedUnion) return unionCheck(schema) ?? slowCheck(schema);
  if (schema instanceof z.ZodNumber) return numberCheck(schema) ?? slowCheck(schema);
  if (schema instanceof z.ZodString) return stringCheck(schema) ?? slowCheck(schema);
  if (hasChecks(schema)) return slowCheck(schema);
  if (schema instanceof z.ZodOptional) return orElse(undefined, checkOf(schema.unwrap()));
  if (schema instanceof z.ZodNullable) return orElse(null, checkOf(schema.unwrap()));
  if (schema instanceof z.ZodBoolean) return (value) => typeof value === 'boolean';
  if (schema instanceof z.ZodLiteral) return literalCheck(schema.values);
  return slowCheck(schema);
}

function slowCheck(schema: z.core.$ZodType): Check {
  return (value) => {
    const result = z.safeParse(schema, value);
    return result.success && isDeepStrictEqual(result.data, value);
  };
}

function checksOf(schema: z.core.$ZodType): readonly z.core.$ZodCheck[] {
  return schema._zod.def.checks ?? [];
}

function hasChecks(schema: z.core.$ZodType): boolean {
  return checksOf(schema).length > 0;
}

function orElse(empty: null | undefined, check: Check): Check {
  return (value) => value === empty || check(value);
}

function literalCheck(values: ReadonlySet<unknown>): Check {
  return (value) => values.has(value);
}

/** Keys that the schema does not know would be left out. */
function objectCheck(schema: z.ZodObject): Check | undefined {
  if (hasChecks(schema)) return undefined;
  const fields = new Map(Object.entries(schema.shape).map(([name, field]) => [name, checkOf(field)]));
  const optional = new Set(Object.keys(schema.shape).filter((name) => schema.shape[name] instanceof z.ZodOptional));
  const required = fields.size - optional.size;
  return (value) => {
    if (!isObject(value)) return false;
    let found = 0;
    for (const name in value) {
      const check = fields.get(name);
      if (check === undefined || !check(value[name])) return false;
      if (!optional.has(name)) found += 1;
    }
    return found === required;
  };
}

function recordCheck(schema: z.ZodRecord): Check | undefined {
  if (hasChecks(schema) || !(schema.keyType instanceof z.ZodString)) return undefined;
  const key = hasChecks(schema.keyType) ? checkOf(schema.keyType) : undefined;
  const check = checkOf(schema.valueType);
  return (value) => {
    if (!isObject(value)) return false;
    for (const name in value) {
      // The schema leaves this one out.
      if (name === '__proto__' || !check(value[name])) return false;
      if (key !== undefined && !key(name)) return false;
    }
    return true;
  };
}

function arrayCheck(schema: z.ZodArray): Check | undefined {
  const fits = lengthCheck(schema);
  if (fits === undefined) return undefined;
  const check = checkOf(schema.element);
  return (value) => {
    if (!Array.isArray(value) || !fits(value.length)) return false;
    for (let i = 0; i < value.length; i++) if (!check(value[i])) return false;
    return true;
  };
}

function tupleCheck(schema: z.ZodTuple): Check | undefined {
  const { items, rest } = schema._zod.def;
  if (hasChecks(schema) || rest !== null) return undefined;
  const checks = items.map(checkOf);
  return (value) => {
    if (!Array.isArray(value) || value.length !== checks.length) return false;
    for (let i = 0; i < checks.length; i++) if (checks[i]?.(value[i]) !== true) return false;
    return true;
  };
}

/** The one whose discriminator has the value; of objects alone, each by one literal. */
function unionCheck(schema: z.ZodDiscriminatedUnion): Check | undefined {
  if (hasChecks(schema)) return undefined;
  const { discriminator } = schema._zod.def;
  const checks = new Map<unknown, Check>();
  for (const option of schema.options) {
    for (const value of option._zod.propValues?.[discriminator] ?? []) checks.set(value, checkOf(option));
  }
  return (value) => isObject(value) && checks.get(value[discriminator])?.(value) === true;
}

function numberCheck(schema: z.ZodNumber): Check | undefined {
  let whole = false;
  let least = Number.NEGATIVE_INFINITY;
  let most = Number.POSITIVE_INFINITY;
  for (const check of checksOf(schema)) {
    if (check instanceof z.core.$ZodCheckNumberFormat && check._zod.def.format === 'safeint') whole = true;
    else if (check instanceof z.core.$ZodCheckGreaterThan && check._zod.def.inclusive)
      least = Math.max(least, Number(check._zod.def.value));
    else if (check instanceof z.core.$ZodCheckLessThan && check._zod.def.inclusive)
      most = Math.min(most, Number(check._zod.def.value));
    else return undefined;
  }
  if (whole) return (value) => Number.isSafeInteger(value) && Number(value) >= least && Number(value) <= most;
  return (value) => typeof value === 'number' && Number.isFinite(value) && value >= least && value <= most;
}

function stringCheck(schema: z.ZodString): Check | undefined {
  const patterns: RegExp[] = [];
  const others: z.core.$ZodCheck[] = [];
  for (const check of checksOf(schema)) {
    if (check instanceof z.core.$ZodCheckRegex && !check._zod.def.pattern.global && !check._zod.def.pattern.sticky)
      patterns.push(check._zod.def.pattern);
    else others.push(check);
  }
  const fits = lengthOf(others);
  if (fits === undefined) return undefined;
  return (value) => {
    if (typeof value !== 'string' || !fits(value.length)) return false;
    for (const pattern of patterns) if (!pattern.test(value)) return false;
    return true;
  };
}

function lengthCheck(schema: z.core.$ZodType): ((length: number) => boolean) | undefined {
  return lengthOf(checksOf(schema));
}

function lengthOf(checks: readonly z.core.$ZodCheck[]): ((length: number) => boolean) | undefined {
  let least = 0;
  let most = Number.POSITIVE_INFINITY;
  for (const check of checks) {
    if (check instanceof z.core.$ZodCheckMinLength) least = Math.max(least, check._zod.def.minimum);
    else if (check instanceof z.core.$ZodCheckMaxLength) most = Math.min(most, check._zod.def.maximum);
    else return undefined;
  }
  return (length) => length >= least && length <= most;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
