// The outputs of a detector as boxes, for steps that come behind it.
import { detect as detectIn, type Seen } from '../meaning/detection.ts';
import { checkHead } from '../meaning/detection-head.ts';
import { tableShape } from '../meaning/detection-layout.ts';
import { boxInPicture } from '../meaning/picture-placement.ts';
import type { OperationStep } from '../pipeline-manifest.ts';
import type { NamedTensor, Tensor } from '../tensor-data.ts';
import { type Fitting, misfit, numeric, type Operation, type TensorFacts } from './operation.ts';
import { decodePlacement } from './pictures.ts';
import { floats, wholeNumbers } from './tensor-parts.ts';

type DetectStep = OperationStep<'detect'>;

/** Boxes beyond these are not counted either. */
const countedAtMost = 1000;

/** The tensors that its rules name. */
export function namedIn({ boxes, scores, classes, table, maps }: DetectStep['detection']): string[] {
  return [boxes, scores, classes, table, ...(maps ?? [])].filter((name) => name !== undefined);
}

export function detect(step: DetectStep, fitting: Fitting): Operation {
  const { detection, placement, size, outputs } = step;
  if ((placement === undefined) === (size === undefined))
    throw fitting.wrong('size', 'give either "placement", which a picture step makes, or "size"');
  for (const name of ['masks', 'keypoints', 'found'] as const)
    if (detection[name] !== undefined)
      throw fitting.wrong(`detection.${name}`, 'is not for steps, which give boxes; see "outputs"');
  const read = namedIn(detection);
  for (const name of read) numeric(fitting, 'detection', name);
  checkLayout(step, fitting);
  const most = detection.maxDetections;
  const facts = new Map<string, TensorFacts>([[outputs.boxes, { datatype: 'FP32', shape: [-1, 4], most }]]);
  if (outputs.scores !== undefined) facts.set(outputs.scores, { datatype: 'FP32', shape: [-1], most });
  if (outputs.classes !== undefined) facts.set(outputs.classes, { datatype: 'INT64', shape: [-1], most });
  if (outputs.found !== undefined) facts.set(outputs.found, { datatype: 'INT64', shape: [1] });
  // One more than are given shows that there were more.
  const counted = Math.max(most + 1, outputs.found === undefined ? 0 : countedAtMost);
  const detector = {
    detection: { ...detection, maxDetections: counted },
    labels: step.classes,
    activation: step.activation,
  };
  return {
    outputs: facts,
    keepsRows: false,
    run(readTensor) {
      const tensors = read.map((name): NamedTensor => ({ ...readTensor(name), name }));
      const seeing = placement === undefined ? undefined : decodePlacement(readTensor(placement));
      const seen = detectIn(detector, tensors, seeing?.size ?? size ?? { width: 1, height: 1 });
      if (typeof seen === 'string') throw misfit(seen);
      const inside = seen.seen.flatMap((each) => {
        if (!seeing) return [each];
        const area = boxInPicture(each.box, seeing.placement);
        if (!area) return [];
        const { left, top, width, height } = area;
        return [{ ...each, box: { left, top, right: left + width, bottom: top + height } }];
      });
      const made = boxTensors(inside.slice(0, most), outputs);
      if (outputs.found !== undefined) made.set(outputs.found, wholeNumbers([inside.length]));
      return { tensors: made, isCut: inside.length > most };
    },
  };
}

function checkLayout({ detection, classes, size }: DetectStep, fitting: Fitting): void {
  const { head, table, maps } = detection;
  const specs = namedIn(detection).map((name) => ({ name, ...fitting.factsOf(name) }));
  if (head) {
    const read = specs.filter(({ name }) => name === table || maps?.includes(name));
    const reason = size && checkHead(head, read, size, { labels: classes, behind: 0, point: undefined });
    if (reason !== undefined) throw fitting.wrong('detection.head', reason);
  } else if (table !== undefined) {
    const shape = specs.find(({ name }) => name === table)?.shape ?? [];
    const isKnown = shape.length > 0 && !shape.includes(-1);
    const found = isKnown ? tableShape(shape, detection, { labels: classes, behind: 0 }) : undefined;
    if (typeof found === 'string') throw fitting.wrong('detection.table', found);
  }
}

function boxTensors(seen: readonly Seen[], names: DetectStep['outputs']): Map<string, Tensor> {
  const boxes = floats([seen.length, 4]);
  const scores = floats([seen.length]);
  for (const [at, { box, score }] of seen.entries()) {
    boxes.data.set([box.left, box.top, box.right, box.bottom], at * 4);
    scores.data[at] = score;
  }
  const made = new Map<string, Tensor>([[names.boxes, boxes]]);
  if (names.scores !== undefined) made.set(names.scores, scores);
  if (names.classes !== undefined) made.set(names.classes, wholeNumbers(seen.map(({ place }) => place)));
  return made;
}
