// pnpm bench NAME [--quick] [--data DIR]: prints a table and writes its figures to test/bench/results/.
import { parseArgs } from 'node:util';
import { benchAnomalies } from './anomalies.ts';
import { benchArtifacts } from './artifacts.ts';
import { benchCharts } from './charts.ts';
import { benchDrift } from './drift.ts';
import { benchGates } from './gates.ts';
import { benchGrowth } from './growth.ts';
import { benchInference } from './inference.ts';
import { benchIngest } from './ingest.ts';
import { benchReconnect } from './reconnect.ts';
import { benchRollouts } from './rollouts.ts';
import { benchWrites } from './writes.ts';

const { values, positionals } = parseArgs({
  options: { quick: { type: 'boolean', default: false }, data: { type: 'string' }, only: { type: 'string' } },
  allowPositionals: true,
});
const benches = new Map<string, typeof benchInference>([
  ['anomalies', benchAnomalies],
  ['artifacts', benchArtifacts],
  ['charts', benchCharts],
  ['drift', benchDrift],
  ['gates', benchGates],
  ['growth', benchGrowth],
  ['inference', benchInference],
  ['ingest', benchIngest],
  ['reconnect', benchReconnect],
  ['rollouts', benchRollouts],
  ['writes', benchWrites],
]);
const bench = benches.get(positionals[0] ?? '');
if (bench === undefined) {
  console.error(`usage: pnpm bench ${[...benches.keys()].join('|')} [--quick] [--data DIR] [--only PART]`);
  process.exitCode = 64;
} else await bench(values);
