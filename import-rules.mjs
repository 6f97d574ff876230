// Who may import whom, and how biome is told: `pnpm format` writes biome.imports.json, `pnpm check` fails when that file is not
// of this table. docs/architecture.md says why the arrows point as they do.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/**
 * A row: a room (a folder of its program's sources) or a file beside the rooms, and what of the same program it may import.
 * `room:a,b` allows only these files of a room. For a room inside a room, the row names its neighbours there, and the outer
 * room's row holds for the rest of the program. Everybody may import `@edgeloop/shared`, nobody another program.
 */
const table = {
  'agent/src': {
    'config.ts': '',
    'version.ts': '',
    'status.ts': 'config.ts',
    'log.ts': '',
    'parsed-seldom.ts': '',
    'problems.ts': '',
    storage: 'problems.ts',
    database: 'problems.ts storage',
    identity: 'problems.ts storage version.ts',
    link: 'identity problems.ts storage',
    process: 'config.ts problems.ts storage version.ts',
    trim: '',
    telemetry: 'database identity:device-port problems.ts storage',
    inference: 'process:ipc,running-note',
    'inference/joining': '',
    'inference/ring': '',
    'inference/worker': 'joining ring',
    'inference/hosts': 'joining ring worker',
    'inference/queueing': 'hosts ring worker',
    models: 'database identity:device-port inference parsed-seldom.ts process storage',
    'models/trying': '',
    'models/rollout': 'trying',
    'models/folder': 'rollout trying',
    server: 'inference process:ipc,figures,rate telemetry',
    'serving-core.ts': 'inference process server storage telemetry',
    'serving.ts': 'log.ts process serving-core.ts',
    'serve-folder.ts': 'serving-core.ts config.ts problems.ts storage version.ts database identity models process',
    'supervisor.ts': 'config.ts problems.ts storage database identity link models process telemetry',
    'main.ts':
      'config.ts log.ts parsed-seldom.ts version.ts serve-folder.ts status.ts storage:refusal supervisor.ts trim',
  },
  'control-plane/src': {
    'config.ts': '',
    'version.ts': '',
    database: '',
    broker: '',
    blobs: '',
    http: 'database',
    access: 'database http',
    fleet: 'access database http',
    gates: '',
    registry: 'access blobs database fleet:fleet http',
    rollouts: 'access database fleet:fleet gates http registry:registry',
    telemetry: 'database fleet:fleet gates http',
    data: 'access blobs database fleet:fleet http',
    backtests:
      'access blobs database fleet:fleet http data:data registry:registry,runnable,ort-tensors training:evaluation/comparison',
    monitoring: 'access database gates:log-gamma http telemetry:telemetry',
    'monitoring/statistics': '',
    'monitoring/anomalies': '',
    'monitoring/alerts': 'statistics',
    'monitoring/references': 'alerts statistics',
    'monitoring/judging': 'alerts references statistics',
    'monitoring/measuring': 'alerts anomalies statistics',
    'monitoring/notifying': 'alerts',
    training: 'access blobs data:data,rows,tables database http registry:registry',
    'training/jobs': '',
    'training/trainers': 'jobs',
    'training/evaluation': 'jobs trainers',
    'training/runs': 'evaluation jobs trainers',
    composition:
      'access backtests blobs broker config.ts data database fleet http monitoring registry rollouts telemetry training version.ts',
    cli: '',
    demo: 'cli',
    simulate: 'cli',
    'server.ts': 'composition config.ts',
    'main.ts': 'cli demo server.ts simulate version.ts',
  },
};

/** What must not come from outside: a folder, and patterns of packages. */
const packages = {
  'shared/src': {
    group: ['**', '!zod', '!./**', '!../**'],
    message: 'the contract imports zod only; what needs Node stands in node/',
  },
  'shared/src/onnx': {
    group: ['**', '!zod', '!protobufjs/light.js', '!./**', '!../**'],
    message: 'reading ONNX files needs protobufjs, nothing else',
  },
  'shared/src/node': {
    group: ['@edgeloop/**', 'hono', '@hono/**', 'drizzle-orm/**'],
    message: 'node/ knows the machine, no program',
  },
  'agent/src': {
    group: ['@edgeloop/control-plane', '@edgeloop/control-plane/**', '**/control-plane/**'],
    message: 'agent and control plane never import each other',
  },
  'agent/src/inference': { group: ['hono', 'hono/**', '@hono/**', 'node:http'], message: 'the engine knows no HTTP' },
  'control-plane/src': {
    group: ['@edgeloop/agent', '@edgeloop/agent/**', '**/agent/**'],
    message: 'agent and control plane never import each other',
  },
  'control-plane/dashboard': {
    group: ['@edgeloop/agent/**', '@edgeloop/control-plane/**', '../../src/**', '../../../src/**'],
    message: 'the dashboard talks HTTP and imports @edgeloop/shared only',
  },
};

/** Files that only tests use may reach into their whole program. */
const exceptTests = ['!**/*.test.ts', '!**/*-fixture.ts'];

const overrides = [
  ...Object.keys(packages).map((folder) =>
    override([`${folder}/**`, ...(folder.startsWith('shared') ? exceptTests : [])], outside(folder)),
  ),
  ...Object.entries(table).flatMap(([program, rows]) =>
    Object.keys(rows).map((row) =>
      override(
        [row.endsWith('.ts') ? `${program}/${row}` : `${program}/${row}/**`, ...exceptTests],
        [...outside(`${program}/${row}`), ...inside(rows, row)],
      ),
    ),
  ),
];

/** The last override that a file matches holds alone, so each says everything. */
function override(includes, patterns) {
  const noRestrictedImports = { level: 'error', options: { patterns } };
  return { includes, linter: { rules: { style: { noRestrictedImports } } } };
}

function outside(folder) {
  const holding = Object.keys(packages).filter((each) => folder === each || folder.startsWith(`${each}/`));
  return (folder.startsWith('shared') ? holding.slice(-1) : holding).map((each) => packages[each]);
}

function inside(rows, row) {
  const [outer, inner] = row.split('/');
  const message = `${row} may import ${[rows[row], inner && rows[outer]].filter(Boolean).join(' ') || 'no other room'}`;
  const neighbours = Object.keys(rows).filter((each) => each.startsWith(`${outer}/`) && each !== row);
  const others = Object.keys(rows).filter((each) => !each.includes('/') && each !== outer);
  return [
    ...forbidden(others, rows[outer], message),
    ...(inner
      ? forbidden(
          neighbours.map((each) => each.slice(outer.length + 1)),
          rows[row],
          message,
        )
      : []),
  ];
}

function forbidden(units, allowed, message) {
  const files = new Map(allowed.split(' ').map((each) => each.split(':')));
  return units.flatMap((unit) => {
    if (files.has(unit) && !files.get(unit)) return [];
    const faces = (files.get(unit)?.split(',') ?? []).map((file) => `!**/${unit}/${file}.ts`);
    const reached = unit.endsWith('.ts') ? [`./${unit}`, `../${unit}`, `../../${unit}`] : [`**/${unit}/**`];
    return [{ group: [...reached, ...faces, '!@edgeloop/**'], message }];
  });
}

function unlisted([program, rows]) {
  const names = readdirSync(new URL(program, import.meta.url)).filter((name) => !/\.test\.ts$/.test(name));
  return names.filter((name) => !(name in rows)).map((name) => `${program}/${name}`);
}

const path = fileURLToPath(new URL('biome.imports.json', import.meta.url));
const lines = overrides.map((each) => `    ${JSON.stringify(each)}`);
const text = `{\n  "overrides": [\n${lines.join(',\n')}\n  ]\n}\n`;
if (!process.argv.includes('--check')) writeFileSync(path, text);
else if (readFileSync(path, 'utf8') !== text)
  fail('biome.imports.json is not what import-rules.mjs says; run: pnpm format');
const missing = Object.entries(table).flatMap(unlisted);
if (missing.length > 0) fail(`import-rules.mjs has no row that says what these may import: ${missing.join(', ')}`);

function fail(message) {
  process.stderr.write(`${message}\n`);
  process.exitCode = 1;
}
