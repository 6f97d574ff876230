// edgeloop pipelines, runs.
import { readFileSync } from 'node:fs';
import { pageOf } from '@edgeloop/shared/api/paging';
import { Pipeline, PipelineSpec, Run, RunDetail, RunLog } from '@edgeloop/shared/api/training';
import { AppError, messageOf, parseJson } from '@edgeloop/shared/errors';
import type { Command } from 'commander';
import { action, type CommandContext, group, numeric } from './command.ts';
import { printFields, printJson, printLine, printTable, timeText } from './output.ts';

export function registerTrainingCommands(program: Command): void {
  registerPipelines(program);
  registerRuns(program);
}

function registerPipelines(program: Command): void {
  const pipelines = group(program, 'pipelines', 'how models are trained and released');
  pipelines
    .command('apply <file>')
    .description('create or change a pipeline from a JSON file')
    .action(
      action(async ({ api, json }, file: string) => {
        const spec = parseJson(PipelineSpec, textOf(file), file);
        const pipeline = await api.send('POST', '/pipelines', Pipeline, spec);
        if (json) return printJson(pipeline);
        printLine(`${pipeline.spec.name} applied; run it: edgeloop pipelines run ${pipeline.spec.name}`);
      }),
    );
  pipelines
    .command('list')
    .description('list pipelines')
    .action(
      action(async ({ api, json }) => {
        const page = await api.get('/pipelines', pageOf(Pipeline), { limit: 1000 });
        if (json) return printJson(page.items);
        printTable(
          ['NAME', 'MODEL', 'DATASET', 'TRAINER', 'ON DRIFT', 'UPDATED'],
          page.items.map(({ spec, updatedAt }) => [
            spec.name,
            spec.model,
            spec.dataset,
            spec.trainer.kind,
            spec.trigger.onDrift ? 'yes' : 'no',
            timeText(updatedAt),
          ]),
        );
      }),
    );
  pipelines
    .command('run <name>')
    .description('start a run')
    .option('--seed <n>', 'instead of the pipeline’s', numeric)
    .option('--watch', 'follow it until it ends')
    .action(
      action(async (context, name: string, options: { seed?: number; watch?: boolean }) => {
        const run = await context.api.send(
          'POST',
          `/pipelines/${encodeURIComponent(name)}/runs`,
          Run,
          options.seed === undefined ? {} : { seed: options.seed },
        );
        if (options.watch === true) return followLogs(context, run.id, true);
        if (context.json) return printJson(run);
        printLine(`${run.id}: ${run.status}; follow it: edgeloop runs logs ${run.id} --follow`);
      }),
    );
}

function registerRuns(program: Command): void {
  const runs = group(program, 'runs', 'training runs');
  runs
    .command('list')
    .description('list runs, newest first')
    .option('--pipeline <name>')
    .action(
      action(async ({ api, json }, options: { pipeline?: string }) => {
        const page = await api.get('/runs', pageOf(Run), { ...options, limit: 100 });
        if (json) return printJson(page.items);
        printTable(
          ['ID', 'PIPELINE', 'STATUS', 'STAGE', 'CAUSE', 'VERSION', 'CREATED'],
          page.items.map((run) => [
            run.id,
            run.pipeline,
            run.status,
            run.stage,
            run.cause.kind,
            run.registeredVersion,
            timeText(run.createdAt),
          ]),
        );
      }),
    );
  runs
    .command('show <id>')
    .description('show one run')
    .action(
      action(async ({ api, json }, id: string) => {
        const run = await api.get(`/runs/${encodeURIComponent(id)}`, RunDetail);
        if (json) return printJson(run);
        printFields([
          ['id', run.id],
          ['pipeline', run.pipeline],
          ['status', `${run.status} (${run.stage})`],
          ['cause', JSON.stringify(run.cause)],
          ['dataset', run.dataset === null ? undefined : `${run.dataset.name}:${run.dataset.version}`],
          ['metrics', JSON.stringify(run.metrics)],
          ['evaluation', run.evaluation?.detail],
          ['version', run.registeredVersion],
          ['rollout', run.rolloutId],
          ['error', run.error],
        ]);
      }),
    );
  runs
    .command('logs <id>')
    .description('print the log of a run')
    .option('--follow', 'until the run ends')
    .action(
      action((context, id: string, options: { follow?: boolean }) => followLogs(context, id, options.follow === true)),
    );
  runs
    .command('cancel <id>')
    .description('stop a run')
    .action(
      action(async ({ api, json }, id: string) => {
        const run = await api.send('POST', `/runs/${encodeURIComponent(id)}/cancel`, Run);
        if (json) return printJson(run);
        printLine(`${run.id}: ${run.status}`);
      }),
    );
}

const endedStatuses: Run['status'][] = ['succeeded', 'rejected', 'failed', 'cancelled'];

async function followLogs({ api, json }: CommandContext, id: string, follow: boolean): Promise<void> {
  let printed = 0;
  for (;;) {
    const run = await api.get(`/runs/${encodeURIComponent(id)}`, RunDetail);
    const { lines } = await api.get(`/runs/${encodeURIComponent(id)}/logs`, RunLog);
    const over = !follow || endedStatuses.includes(run.status);
    if (json && over) return printJson({ run, lines });
    if (!json) for (const line of lines.slice(printed)) printLine(`${timeText(line.at)}  ${line.text}`);
    printed = lines.length;
    if (over) {
      if (follow && run.status !== 'succeeded')
        throw new AppError('conflict', `the run ended as ${run.status}${run.error === null ? '' : `: ${run.error}`}`);
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new AppError('invalid_request', `cannot read ${file}: ${messageOf(cause)}`, { cause });
  }
}
