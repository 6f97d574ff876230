// Looks for bytes that the two ways of reading requests answer differently, for as long as it is told to.
import { parseArguments, usage } from './arguments.ts';
import { compareWays, type Difference } from './differential.ts';

const shown = 3000;

function tell({ seed, conversation, plain, node }: Difference): void {
  const { requests, cuts, pipelined } = conversation;
  console.log(`\nseed ${seed}: ${pipelined ? 'pipelined' : 'one by one'}, cut at ${cuts.join(', ') || 'no place'}`);
  for (const { bytes } of requests) console.log(JSON.stringify(bytes.toString('latin1').slice(0, shown)));
  console.log(`own reader: ${JSON.stringify(plain.slice(0, shown))}`);
  console.log(`Node:       ${JSON.stringify(node.slice(0, shown))}`);
}

const asked = parseArguments(process.argv.slice(2));
if (asked === undefined) {
  console.error(usage);
  process.exitCode = 64;
} else {
  const { seed, minutes } = asked;
  const endMs = performance.now() + minutes * 60_000;
  let stopped = false;
  const stop = (): void => {
    stopped = true;
  };
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, stop);
  let begun = 0;
  let differences = 0;
  console.log(`seed ${seed}`);
  const compared = await compareWays({
    seed,
    goesOn: () => !stopped && (begun++ === 0 || performance.now() < endMs),
    onDifference(difference) {
      differences++;
      tell(difference);
    },
  });
  console.log(`${compared} conversations from seed ${seed} on, ${differences} differences`);
  if (differences > 0) process.exitCode = 1;
}
