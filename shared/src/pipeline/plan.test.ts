import { describe, expect, it } from 'vitest';
import type { z } from 'zod';
import { AppError } from '../app-error.ts';
import { Pipeline } from '../pipeline-manifest.ts';
import type { ModelSignature } from '../tensors.ts';
import { planPipeline } from './plan.ts';

type Steps = z.input<typeof Pipeline>['steps'];

const classifier: ModelSignature = {
  inputs: [{ name: 'x', datatype: 'FP32', shape: [-1, 4] }],
  outputs: [{ name: 'y', datatype: 'FP32', shape: [-1, 3] }],
  classNames: ['a', 'b', 'c'],
};
const single: ModelSignature = {
  inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 4] }],
  outputs: [{ name: 'y', datatype: 'FP32', shape: [1, 3] }],
};
const signatures = new Map([
  ['net.onnx', classifier],
  ['one.onnx', single],
]);
const run = { name: 'net', model: 'net.onnx', inputs: { x: 'x' }, outputs: { y: 'y' } };

function plan(steps: Steps, outputs = ['y'], inputs: z.input<typeof Pipeline>['inputs'] = []) {
  const given = inputs.length > 0 ? inputs : [{ name: 'x', datatype: 'FP32' as const, shape: [-1, 4] }];
  return planPipeline(Pipeline.parse({ inputs: given, outputs, steps }), signatures);
}
function faults(steps: Steps, outputs?: string[], inputs?: z.input<typeof Pipeline>['inputs']): string[] {
  try {
    plan(steps, outputs, inputs);
  } catch (error) {
    if (error instanceof AppError && error.code === 'model_rejected')
      return error.errors.map(({ field, message }) => `${field}: ${message}`);
    throw error;
  }
  return [];
}

describe('a pipeline that fits', () => {
  it('has the inputs and outputs of the whole, and the classes of the last step', () => {
    const { signature, steps } = plan(
      [
        { name: 'chance', operation: 'softmax', input: 'y', output: 'p' },
        run,
        { name: 'best', operation: 'argmax', input: 'p', output: 'place' },
      ],
      ['p', 'place'],
    );
    expect(signature).toEqual({
      inputs: [{ name: 'x', datatype: 'FP32', shape: [-1, 4] }],
      outputs: [
        { name: 'p', datatype: 'FP32', shape: [-1, 3] },
        { name: 'place', datatype: 'INT64', shape: [-1] },
      ],
      classNames: ['a', 'b', 'c'],
    });
    expect(steps.map(({ name, does, last }) => [name, does, last])).toEqual([
      ['net', 'net.onnx', ['x']],
      ['chance', 'softmax', ['y']],
      ['best', 'argmax', []],
    ]);
  });

  it('keeps rows apart where all of its steps do', () => {
    expect(plan([run]).againstJoining).toBeUndefined();
    const along = (axis: number) => [run, { name: 's', operation: 'softmax' as const, input: 'y', output: 'p', axis }];
    expect(plan(along(1), ['p']).againstJoining).toBeUndefined();
    expect(plan(along(-2), ['p']).againstJoining).toBe('step "s" (softmax) does not keep rows apart');
    const fixed = [{ name: 'x', datatype: 'FP32' as const, shape: [2, 4] }];
    expect(plan([run], ['y'], fixed).againstJoining).toBe('input "x" [2,4] has no rows');
  });
});

describe('what is wrong with a pipeline is told by the step, and what mends it', () => {
  const softmax = { name: 's', operation: 'softmax' as const, input: 'y', output: 'p' };
  it.each<[string, Steps, string[] | undefined, string[]]>([
    [
      'a tensor that nothing makes',
      [{ ...run, inputs: { x: 'z' } }],
      undefined,
      [
        'manifest.pipeline.steps.0.inputs.x: step "net" reads "z", which nothing makes; there are "x", "y"',
        'manifest.pipeline.inputs.0: no step reads "x", and it is no output; leave it out',
      ],
    ],
    [
      'an output that is never made',
      [run],
      ['y', 'q'],
      ['manifest.pipeline.outputs.1: nothing makes "q"; there are "x", "y"'],
    ],
    [
      'a circle',
      [
        { name: 'a', operation: 'average', inputs: ['x', 'q'], output: 'p' },
        { name: 'b', operation: 'sigmoid', input: 'p', output: 'q' },
        { ...run, inputs: { x: 'q' } },
      ],
      undefined,
      ['manifest.pipeline.steps: "a" needs "b" needs "a": steps must not go in a circle'],
    ],
    [
      'a tensor that is made twice',
      [run, { ...run, name: 'net2' }],
      undefined,
      ['manifest.pipeline.steps.1.outputs.y: the tensor "y" is made by step "net" already; give it another name'],
    ],
    [
      'two steps of one name',
      [run, { ...softmax, name: 'net' }],
      ['p'],
      ['manifest.pipeline.steps.1.name: there are two steps "net"; rename one'],
    ],
    [
      'a step that nobody needs',
      [run, softmax],
      undefined,
      ['manifest.pipeline.steps.1: nobody needs what step "s" makes; leave it out, or name it in "outputs"'],
    ],
    [
      'an input that the model does not have',
      [{ ...run, inputs: { x: 'x', w: 'x' } }],
      undefined,
      ['manifest.pipeline.steps.0.inputs.w: step "net": "net.onnx" has no such input; it takes "x" [-1,4]'],
    ],
    [
      'an input that gets nothing',
      [
        { ...run, inputs: {} },
        { name: 'q', operation: 'sigmoid', input: 'x', output: 'z' },
      ],
      ['y', 'z'],
      ['manifest.pipeline.steps.0.inputs: step "net": "net.onnx" needs "x" [-1,4]; say which tensor it gets'],
    ],
    [
      'an output that the model does not have',
      [{ ...run, outputs: { y: 'y', z: 'z' } }],
      ['y', 'z'],
      ['manifest.pipeline.steps.0.outputs.z: step "net": "net.onnx" has no such output; it gives "y" [-1,3]'],
    ],
    [
      'another shape',
      [run, { name: 'again', model: 'net.onnx', inputs: { x: 'y' }, outputs: { y: 'z' } }],
      ['z'],
      ['manifest.pipeline.steps.1.inputs.x: step "again": "x" FP32 [-1,4] does not take "y" [-1,3]'],
    ],
    [
      'another type',
      [
        { name: 'best', operation: 'threshold', input: 'x', output: 'b', from: 0 },
        { ...run, inputs: { x: 'b' } },
      ],
      undefined,
      [
        'manifest.pipeline.steps.1.inputs.x: step "net": "x" FP32 [-1,4] does not take "b", which is BOOL; a step "cast" to FP32 makes it fit',
      ],
    ],
    [
      'many rows for a model that takes one',
      [{ ...run, model: 'one.onnx' }],
      undefined,
      [
        'manifest.pipeline.steps.0.inputs.x: step "net": "x" FP32 [1,4] takes one row, and "x" [-1,4] may have more; "rows": "each" runs it once for each row',
      ],
    ],
    [
      'several faults at once, apart from what follows from them',
      [
        { ...run, outputs: { q: 'y' } },
        softmax,
        { name: 'cut', operation: 'slice', input: 'x', output: 'part', axis: 3 },
      ],
      ['p', 'part'],
      [
        'manifest.pipeline.steps.0.outputs.q: step "net": "net.onnx" has no such output; it gives "y" [-1,3]',
        'manifest.pipeline.steps.2.axis: step "cut": "x" [-1,4] has no axis 3',
      ],
    ],
    [
      'crops of boxes without a bound',
      [
        run,
        {
          name: 'crop',
          operation: 'crop',
          picture: 'x',
          boxes: 'x',
          output: 'c',
          image: { width: 2, height: 2 },
        },
      ],
      ['y', 'c'],
      ['manifest.pipeline.steps.1.picture: step "crop": "x" [-1,4] is not one picture in the order "nhwc"; see "from"'],
    ],
  ])('%s', (_, steps, outputs, expected) => {
    expect(faults(steps, outputs)).toEqual(expected);
  });

  it('crops that no device could hold, and boxes without a bound', () => {
    const inputs = [
      { name: 'picture', datatype: 'UINT8' as const, shape: [1, -1, -1, 3] },
      { name: 'boxes', datatype: 'FP32' as const, shape: [-1, 4] },
    ];
    const cut = (boxes: string) => ({
      name: 'cut',
      operation: 'crop' as const,
      picture: 'picture',
      boxes,
      output: 'crops',
      image: { width: 224, height: 224 },
    });
    expect(faults([cut('boxes')], ['crops'], inputs)).toEqual([
      'manifest.pipeline.steps.0.boxes: step "cut": nothing says how many boxes "boxes" may hold; let "detect" or "filter" make them',
    ]);
    const some = (most: number): Steps => [
      { name: 'f', operation: 'filter', scores: 'boxes', from: 0, most, keep: { boxes: 'some' } },
      cut('some'),
    ];
    expect(faults(some(400), ['crops'], inputs)).toEqual([]);
    expect(faults(some(500), ['crops'], inputs)[0]).toContain('500 boxes would be 75264000 values');
  });
});
