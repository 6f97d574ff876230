// Which tensors the steps of a pipeline read and make, and in which order they can run.

import type { Faults } from '../meaning/rejection.ts';
import { reject } from '../meaning/rejection.ts';
import type { Pipeline, PipelineStep } from '../pipeline-manifest.ts';
import { namedIn } from './boxes.ts';

/** A tensor by the field of the step that names it. */
interface Named {
  field: string;
  tensor: string;
}

/** What a step reads. */
export function readBy(step: PipelineStep): Named[] {
  switch (step.operation) {
    case undefined:
    case 'model':
      return Object.entries(step.inputs).map(([input, tensor]) => ({ field: `inputs.${input}`, tensor }));
    case 'concat':
    case 'average':
      return step.inputs.map((tensor, at) => ({ field: `inputs.${at}`, tensor }));
    case 'filter':
      return [
        { field: 'scores', tensor: step.scores },
        ...Object.keys(step.keep).map((tensor) => ({ field: `keep.${tensor}`, tensor })),
      ];
    case 'detect':
      return [
        ...namedIn(step.detection).map((tensor) => ({ field: 'detection', tensor })),
        ...optional('placement', step.placement),
      ];
    case 'crop':
      return [
        { field: 'picture', tensor: step.picture },
        { field: 'boxes', tensor: step.boxes },
      ];
    default:
      return [{ field: 'input', tensor: step.input }];
  }
}

/** What a step makes. */
export function madeBy(step: PipelineStep): Named[] {
  switch (step.operation) {
    case undefined:
    case 'model':
    case 'detect':
    case 'top-k':
      return Object.entries(step.outputs).flatMap(([output, tensor]) => optional(`outputs.${output}`, tensor));
    case 'filter':
      return [
        ...Object.entries(step.keep).map(([from, tensor]) => ({ field: `keep.${from}`, tensor })),
        ...optional('found', step.found),
      ];
    case 'picture':
      return [{ field: 'output', tensor: step.output }, ...optional('placement', step.placement)];
    default:
      return [{ field: 'output', tensor: step.output }];
  }
}

function optional(field: string, tensor: string | undefined): Named[] {
  return tensor === undefined ? [] : [{ field, tensor }];
}

export function fieldOf(at: number, field?: string): string {
  return `pipeline.steps.${at}${field === undefined ? '' : `.${field}`}`;
}

/** The places of the steps, each behind those whose tensors it reads. Adds to the faults what cannot be; then it is of no use. */
export function orderOf({ inputs, outputs, steps }: Pipeline, faults: Faults): number[] {
  const maker = new Map<string, number | 'input'>();
  const add = (tensor: string, by: number | 'input', field: string): void => {
    const other = maker.get(tensor);
    if (other !== undefined) {
      const who = other === 'input' ? 'an input of the pipeline' : `step "${steps[other]?.name}"`;
      faults.add(reject(field, `the tensor "${tensor}" is made by ${who} already; give it another name`));
    } else {
      maker.set(tensor, by);
    }
  };
  for (const [at, { name }] of inputs.entries()) add(name, 'input', `pipeline.inputs.${at}.name`);
  const names = new Set<string>();
  for (const [at, step] of steps.entries()) {
    if (names.has(step.name)) faults.add(reject(fieldOf(at, 'name'), `there are two steps "${step.name}"; rename one`));
    names.add(step.name);
    for (const { field, tensor } of madeBy(step)) add(tensor, at, fieldOf(at, field));
  }
  checkNeeds({ inputs, outputs, steps }, maker, faults);
  return sorted(steps, maker, faults);
}

function checkNeeds({ inputs, outputs, steps }: Pipeline, maker: ReadonlyMap<string, unknown>, faults: Faults): void {
  const there = `there are ${[...maker.keys()].map((name) => `"${name}"`).join(', ')}`;
  const needed = new Set(outputs);
  for (const [at, step] of steps.entries()) {
    for (const { field, tensor } of readBy(step)) {
      needed.add(tensor);
      if (maker.has(tensor)) continue;
      faults.add(reject(fieldOf(at, field), `step "${step.name}" reads "${tensor}", which nothing makes; ${there}`));
    }
  }
  for (const [at, output] of outputs.entries()) {
    if (outputs.indexOf(output) < at) faults.add(reject(`pipeline.outputs.${at}`, `names "${output}" twice`));
    if (!maker.has(output)) faults.add(reject(`pipeline.outputs.${at}`, `nothing makes "${output}"; ${there}`));
  }
  for (const [at, { name }] of inputs.entries())
    if (!needed.has(name))
      faults.add(reject(`pipeline.inputs.${at}`, `no step reads "${name}", and it is no output; leave it out`));
  for (const [at, step] of steps.entries())
    if (!madeBy(step).some(({ tensor }) => needed.has(tensor)))
      faults.add(
        reject(fieldOf(at), `nobody needs what step "${step.name}" makes; leave it out, or name it in "outputs"`),
      );
}

function sorted(steps: Pipeline['steps'], maker: ReadonlyMap<string, number | 'input'>, faults: Faults): number[] {
  const order: number[] = [];
  const done = new Set<number>();
  const needs = steps.map((step) =>
    readBy(step).flatMap(({ tensor }) => {
      const by = maker.get(tensor);
      return typeof by === 'number' ? [by] : [];
    }),
  );
  const waitsFor = (at: number): number[] => (needs[at] ?? []).filter((by) => !done.has(by));
  for (;;) {
    const ready = steps.findIndex((_, at) => !done.has(at) && waitsFor(at).length === 0);
    if (ready === -1) break;
    done.add(ready);
    order.push(ready);
  }
  if (order.length < steps.length) faults.add(reject('pipeline.steps', circleOf(steps, waitsFor)));
  return order;
}

/** From a step that waits to what it waits for, until one comes again: those are the circle. */
function circleOf(steps: Pipeline['steps'], waitsFor: (at: number) => number[]): string {
  const way: number[] = [];
  let at: number | undefined = steps.findIndex((_, place) => waitsFor(place).length > 0);
  while (at !== undefined && !way.includes(at)) {
    way.push(at);
    [at] = waitsFor(at);
  }
  const circle = at === undefined ? way : [...way.slice(way.indexOf(at)), at];
  return `${circle.map((place) => `"${steps[place]?.name}"`).join(' needs ')}: steps must not go in a circle`;
}
