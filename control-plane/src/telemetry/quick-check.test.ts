import { TelemetryBatch, Window } from '@edgeloop/shared/telemetry';
import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import { z } from 'zod';
import { createQuickParse } from './quick-check.ts';
import { batchOf, labelOf, windowOf } from './telemetry-fixture.ts';

function outcome<T>(parse: (value: unknown) => T, value: unknown): { data: T } | 'refused' {
  try {
    return { data: parse(value) };
  } catch {
    return 'refused';
  }
}

/** The same of both, or the test fails. */
function agree<S extends z.ZodType>(schema: S, values: readonly unknown[]): void {
  const quick = createQuickParse(schema, 'value');
  for (const value of values) expect(outcome(quick, value)).toEqual(outcome((each) => schema.parse(each), value));
}

const histogram = { counts: [0, 3, 1], sum: 1.5, sumOfSquares: 2, min: null, max: 1 };
const sketch = {
  count: 3,
  sum: 1,
  max: 2,
  zeros: 0,
  bins: [
    [-3, 1],
    [4, 2],
  ],
};
const batch = batchOf([
  windowOf({
    latencies: [1, 2, 3],
    features: { a: histogram, b: histogram },
    classes: { x: 1 },
    failed: { timeout: 2 },
  }),
  windowOf({
    release: 'a'.repeat(64),
    variant: 'int8',
    confidence: histogram,
    recovered: true,
    shadow: {
      ...{ version: 2, compared: 1, agreed: 1, failed: {}, skipped: 0 },
      ...{ difference: windowOf().latencyMs, latencyMs: windowOf().latencyMs, formerMs: windowOf().latencyMs },
    },
  }),
  { kind: 'labels', labels: [labelOf(), labelOf({ inferenceId: 'other' })] },
  { kind: 'loss', windows: 1, requests: 2, labels: 0 },
]);
const text = JSON.stringify(batch);

/** What a device may say instead of a value. */
const strange = fc.oneof(
  fc.constantFrom<unknown>(null, -1, -0, 0, 0.5, 1e300, 2 ** 53, 2 ** 31, '', 'm', 'x'.repeat(300), true, [], {}, [
    [1],
  ]),
  fc.constantFrom<unknown>(
    undefined,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    histogram,
    sketch,
    'window',
    'loss',
    [1, 2, 3],
  ),
  fc.jsonValue(),
);

/** Every place in the value: its holder and key. */
function placesOf(value: unknown): { holder: Record<string, unknown>; key: string }[] {
  if (typeof value !== 'object' || value === null) return [];
  const holder = value as Record<string, unknown>;
  return Object.keys(holder).flatMap((key) => [{ holder, key }, ...placesOf(holder[key])]);
}

const broken = fc
  .array(fc.tuple(fc.nat(), strange, fc.constantFrom('replace', 'remove', 'add')), { maxLength: 2 })
  .map((changes) => {
    const value: unknown = JSON.parse(text);
    for (const [where, any, how] of changes) {
      // A copy: what is put in twice may otherwise lie in itself, and would stay changed for later values.
      const instead = structuredClone(any);
      const places = placesOf(value);
      const place = places[where % Math.max(1, places.length)];
      if (place === undefined) continue;
      if (how === 'remove' && Array.isArray(place.holder)) place.holder.splice(Number(place.key), 1);
      else if (how === 'remove') delete place.holder[place.key];
      else if (how === 'add' && Array.isArray(place.holder)) place.holder.push(instead);
      else place.holder[how === 'add' ? `${place.key}-more` : place.key] = instead;
    }
    return value;
  });

test('accepts and refuses the batches that the schema accepts and refuses, and gives the same', () => {
  fc.assert(
    fc.property(broken, (value) => agree(TelemetryBatch, [value])),
    { numRuns: 500 },
  );
});

test('agrees on values of every shape that schemas can have', () => {
  const schemas = [
    z.object({ a: z.string(), b: z.number().optional() }),
    z.strictObject({ a: z.string() }),
    z.looseObject({ a: z.string() }),
    z.object({ a: z.number().default(3) }),
    z.object({ a: z.number() }).refine(({ a }) => a !== 0),
    z.record(z.string().min(2), z.number()),
    z.array(z.number().int()).min(1).max(2),
    z.tuple([z.number(), z.string()]),
    z.number().gt(0).lt(1),
    z.number().multipleOf(2),
    z.string().min(1).max(3).trim(),
    z.string().regex(/a/g),
    z.coerce.number(),
    z.enum(['a', 'b']),
    z.union([z.object({ a: z.number() }), z.object({ a: z.number(), b: z.number() })]),
    z.nullable(z.boolean()),
    z.string().transform((value) => value.length),
  ];
  const part = fc.oneof(
    fc.constantFrom<unknown>(null, undefined, 0, 0.5, 1, 2, -1, '', 'a', 'ba', ' a', true),
    fc.anything(),
  );
  const value = fc.oneof(
    part,
    fc.array(part, { maxLength: 3 }),
    fc.dictionary(fc.constantFrom('a', 'b', 'bb', '__proto__', 'constructor', 'toString'), part),
  );
  for (const schema of schemas) fc.assert(fc.property(value, (each) => agree(schema, [each])));
});

test('says which field is wrong, as the schema does', () => {
  const value = { ...batch, items: [{ sequence: 0, item: batch.items[0]?.item }] };
  expect(() => createQuickParse(TelemetryBatch, 'telemetry')(value)).toThrow(
    'telemetry is invalid: telemetry.items.0.sequence',
  );
});

test('asks the schema nothing about a batch as devices send them', () => {
  const asked = vi.spyOn(Window._zod, 'run');
  createQuickParse(TelemetryBatch, 'telemetry')(JSON.parse(text));
  expect(asked).not.toHaveBeenCalled();
  asked.mockRestore();
});
