// Simulated fleets, seed after seed: prints what held, and the seed to see it again.
import { parseArguments, usage } from './arguments.ts';
import { simulate } from './fleet.ts';

const asked = parseArguments(process.argv.slice(2), Math.floor(Math.random() * 1_000_000));
if (asked === undefined) {
  console.error(usage);
  process.exitCode = 64;
} else {
  const { seed: first, seeds, devices, minutes, lines: shown } = asked;
  const sums = new Map<string, number>();
  for (let seed = first; seed < first + seeds; seed++) {
    const begunMs = performance.now();
    const { violation, seconds, events, seen, lines } = await simulate({ seed, devices, minutes, verbose: shown > 0 });
    const took = ((performance.now() - begunMs) / 1000).toFixed(1);
    const what = `seed ${seed}: ${devices} devices, ${(seconds / 60).toFixed(0)} virtual minutes, ${events} events in ${took} s`;
    for (const [kind, count] of seen) sums.set(kind, (sums.get(kind) ?? 0) + count);
    if (violation === undefined) {
      console.log(`${what}: holds`);
      continue;
    }
    process.exitCode = 1;
    console.log([`${what}: VIOLATED`, ...lines.slice(-shown), `  ${violation}`].join('\n'));
    console.log(`  again: pnpm simulate --seed ${seed} --seeds 1 --devices ${devices} --minutes ${minutes}`);
  }
  const counted = [...sums].sort(([a], [b]) => (a < b ? -1 : 1)).map(([kind, count]) => `${kind} ${count}`);
  console.log(`seen: ${counted.join(', ')}`);
}
