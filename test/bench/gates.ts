// `pnpm bench gates`: what each gate of a rollout can see with how much evidence, as docs/gates.md shows it, and how often
// simulated fleets show it.

import { createRandom } from '@edgeloop/control-plane/training/trainers/random';
import { RolloutGates, RolloutPlan } from '@edgeloop/shared/api/rollouts';
import { QuantileSketchBuilder } from '@edgeloop/shared/sketches/ddsketch';
import { alphaOf } from '../../control-plane/src/gates/judge.ts';
import { rateSeenAbove, slowdownSeen, worthAfter } from '../../control-plane/src/gates/outlook.ts';
import { smallestRise } from '../../control-plane/src/gates/power.ts';
import { exceedsBy } from '../../control-plane/src/gates/sequential.ts';

/** Devices of the wave and requests (for accuracy: labels) of each; the rest has nine times as many devices. */
const evidence = [
  { devices: 1, each: 100 },
  { devices: 1, each: 1000 },
  { devices: 10, each: 10 },
  { devices: 10, each: 100 },
  { devices: 100, each: 10 },
  { devices: 100, each: 100 },
  { devices: 1000, each: 100 },
];
const rest = 9;
/** Of requests of one device; what is expected while few devices tell, and what like devices have. */
const correlations = [0.05, 0.005];
const simulated = 200;

type Evidence = (typeof evidence)[number];
interface Row {
  gate: string;
  seen: (evidence: Evidence, correlation: number) => string;
}

const plan = RolloutPlan.parse({});
const gates = RolloutGates.parse({});
const { wave: alpha } = alphaOf(gates, plan.waves.length);
const random = createRandom(1);

export async function benchGates(): Promise<void> {
  for (const correlation of correlations) {
    console.log(`\nCorrelation within a device ${correlation}:\n`);
    const head = evidence.map(({ devices, each }) => `${devices} × ${each}`);
    console.log(line(['gate', ...head]));
    console.log(line(['---', ...head.map(() => '---:')]));
    for (const { gate, seen } of rows()) console.log(line([gate, ...evidence.map((each) => seen(each, correlation))]));
  }
}

function rows(): Row[] {
  const { maxErrorRate, maxErrorRise, accuracy, latency, drift, shadow } = gates;
  return [
    {
      gate: `\`error_rate\`, bound ${percent(maxErrorRate)}`,
      seen: ({ devices, each }) => {
        const rate = rateSeenAbove(devices * each, { bound: maxErrorRate, alpha });
        return rate === null ? 'nothing' : percent(rate);
      },
    },
    { gate: '`error_rise`, from 0.5 %', seen: riseOf({ base: 0.005, margin: maxErrorRise, alpha }) },
    { gate: '`accuracy`, from 96 %', seen: riseOf({ base: 0.04, margin: accuracy.maxLoss, alpha }) },
    {
      gate: `\`latency\`, ${latency.quantile * 100} % quantile`,
      seen: (each, correlation) => {
        const slowdown = slowdownSeen(latencies(), trialsOf(each, correlation), { ...latency, alpha });
        return slowdown === null ? 'nothing' : `${slowdown.toFixed(1)} times`;
      },
    },
    { gate: '`drift`, a class of 25 %', seen: riseOf({ base: 0.25, margin: drift.maxShift, alpha: alpha / 4 }) },
    {
      gate: `\`shadow_agreement\`, bound ${percent(shadow.minAgreement)}`,
      seen: (each, correlation) => {
        const settings = { bound: 1 - shadow.minAgreement, alpha };
        const rate = rateSeenAbove(trialsOf(each, correlation).fresh, settings);
        return rate === null ? 'nothing' : `${percent(1 - rate)} agreeing`;
      },
    },
  ];
}

/** The smallest rise, and in brackets how often simulated fleets of independent requests worth as much show it. */
function riseOf(expected: { base: number; margin: number; alpha: number }): Row['seen'] {
  return (each, correlation) => {
    const trials = trialsOf(each, correlation);
    const rise = smallestRise(trials, expected);
    if (rise === null) return 'nothing';
    let shown = 0;
    for (let i = 0; i < simulated; i++) {
      const fresh = drawn(trials.fresh, expected.base + rise);
      if (exceedsBy(fresh, drawn(trials.former, expected.base), expected)) shown++;
    }
    return `${(rise * 100).toFixed(1)} points (${percent(shown / simulated)})`;
  };
}

function drawn(trials: number, rate: number) {
  const count = Math.round(trials);
  let hits = 0;
  for (let i = 0; i < count; i++) if (random() < rate) hits++;
  return { hits, trials: count };
}

function trialsOf({ devices, each }: Evidence, correlation: number) {
  const pace = (count: number) => Array<number>(count).fill(each);
  return { fresh: worthAfter(1, pace(devices), correlation), former: worthAfter(1, pace(rest * devices), correlation) };
}

/** Latencies that spread as answers of small models do: lognormal, with a deviation of 0.4. */
function latencies() {
  const draw = createRandom(2);
  const builder = new QuantileSketchBuilder();
  for (let i = 0; i < 5000; i++)
    builder.add(10 * Math.exp(0.4 * Math.sqrt(-2 * Math.log(1 - draw())) * Math.cos(2 * Math.PI * draw())));
  return builder.toJSON();
}

function line(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`;
}

function percent(share: number): string {
  return `${Number((share * 100).toFixed(1))} %`;
}
