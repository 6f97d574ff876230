// `edgeloop demo`: the whole loop on real data, for real, in a few minutes.
import { join } from 'node:path';
import { AppError } from '@edgeloop/shared/errors';
import { findWorkspaceRoot } from './corpus/files.ts';
import { createScenario, type Sample, type Scenario } from './corpus/scenario.ts';
import { type DemoFleet, startFleet } from './fleet.ts';
import {
  firingDrift,
  importDataset,
  metricTotal,
  model,
  rolloutToEnd,
  runOfAlert,
  runToEnd,
  type StepContext,
  startFirstRun,
  watchForDrift,
} from './steps.ts';
import { type Summary, summaryLines, verdictOf } from './summary.ts';
import { accuracyOf, type Tally, Traffic } from './traffic.ts';
import { patienceMs, pause, waitFor } from './wait.ts';

export interface DemoOptions {
  /** End after the loop instead of staying up until Ctrl-C. */
  exit: boolean;
  signal: AbortSignal;
}

const agents = 3;
const requestsPerSecond = 50;
/** Share of the traffic that people label while all is well; once it is not, they label everything. */
const everyday = 0.2;

/** Plays the loop; resolves with the exit code. */
export async function runDemo({ exit, signal }: DemoOptions): Promise<number> {
  const death = new AbortController();
  const either = AbortSignal.any([signal, death.signal]);
  const root = findWorkspaceRoot();
  const say = createSayer();
  say('reading the files of the installed packages');
  const scenario = createScenario({ root, seed: 1 });
  say(
    `${scenario.training.length} files to learn from, ${scenario.heldOut.length} of other packages as traffic, ${scenario.featureNames.length} features, classes: ${scenario.classes.join(', ')}`,
  );
  say(`starting a control plane and ${agents} agents`);
  const fleet = await startFleet({
    root,
    dataDir: join(root, 'data/demo'),
    agents,
    signal: either,
    onDeath: (error) => death.abort(error),
  });
  try {
    say(`dashboard: ${fleet.dashboardUrl}`);
    const summary = await playLoop({ api: fleet.api, signal: either, say }, fleet, scenario);
    const missing = verdictOf(summary);
    if (!exit) {
      say('the loop is complete; everything stays up until Ctrl-C');
      printSummary(summary, missing, fleet);
      await new Promise<void>((resolve) => either.addEventListener('abort', () => resolve(), { once: true }));
      if (death.signal.aborted) throw death.signal.reason;
    }
    await fleet.stop();
    if (exit) printSummary(summary, missing, fleet);
    return missing.length === 0 ? 0 : 1;
  } catch (error) {
    if (signal.aborted) return 130;
    throw death.signal.aborted ? death.signal.reason : error;
  } finally {
    await fleet.stop();
  }
}

async function playLoop(context: StepContext, fleet: DemoFleet, scenario: Scenario): Promise<Summary> {
  const { say, signal } = context;
  const begun = Date.now();
  const traffic = new Traffic({
    agents: fleet.agentUrls,
    model,
    rate: requestsPerSecond,
    labelDelayMs: 1000,
    signal,
  });
  try {
    const first = await firstModel(context, { fleet, traffic, scenario });
    const before = await measure(context, traffic, { samples: scenario.heldOut, labelShare: everyday, seconds: 24 });
    say(
      `accuracy on traffic of packages that the model never saw: ${percent(accuracyOf(before))} of ${before.answered} requests`,
    );
    const calm = await firingDrift(context, first.version);
    if (calm !== undefined)
      throw new AppError('internal', `a drift alert fired before anything changed: ${calm.summary}`);

    const degraded = await changedTraffic(context, { traffic, scenario, version: first.version });
    const retrained = await retrain(context, { traffic, scenario, alertId: degraded.alertId });
    await measure(context, traffic, { samples: scenario.changedHeldOut, labelShare: 0, seconds: 2 });
    const after = await measure(context, traffic, { samples: scenario.changedHeldOut, labelShare: 0, seconds: 12 });
    say(`accuracy on the changed traffic now: ${percent(accuracyOf(after))} of ${after.answered} requests`);
    await traffic.stop();
    const counted = await countsAgree(context, traffic.total(), begun);
    return {
      accuracyBefore: accuracyOf(before),
      accuracyDegraded: degraded.accuracy,
      accuracyAfter: accuracyOf(after),
      answeredByNewVersion: after.versions.get(retrained.version) === after.answered,
      onsetToAlertSeconds: (degraded.firedAt - degraded.changedAt) / 1000,
      alertToReleaseSeconds: (retrained.completedAt - degraded.firedAt) / 1000,
      movedFeatures: degraded.movedFeatures,
      versions: [first.version, retrained.version],
      answered: traffic.total().answered,
      failed: traffic.total().failed,
      lastFailure: traffic.total().lastFailure,
      counted,
      totalSeconds: (Date.now() - begun) / 1000,
    };
  } finally {
    await traffic.stop();
  }
}

interface Stage {
  fleet: DemoFleet;
  traffic: Traffic;
  scenario: Scenario;
}

async function firstModel(context: StepContext, { fleet, traffic, scenario }: Stage): Promise<{ version: number }> {
  const { api, say, signal } = context;
  const version = await importDataset(context, scenario);
  say(
    `dataset version ${version.version}: ${version.rows.train} rows to train, ${version.rows.validation} to validate, ${version.rows.test} to test, sha256 ${version.digest.slice(0, 12)}`,
  );
  const run = await runToEnd(context, await startFirstRun(context));
  say(`trained and registered ${model} version ${run.registeredVersion}: ${run.evaluation?.detail ?? ''}`);
  if (run.rolloutId === null || run.registeredVersion === null)
    throw new AppError('internal', 'the first run released nothing');
  const started = fleet.agentUrls.map((agent) =>
    waitFor({ what: `${agent} serving the first model`, timeoutMs: patienceMs, signal }, async () =>
      (await fetch(`${agent}/v2/models/${model}/ready`)).ok ? true : undefined,
    ),
  );
  // The first wave is judged on real requests, so its device gets traffic as soon as it serves.
  traffic.send(scenario.heldOut, { labelShare: everyday });
  traffic.start((agent) => started[fleet.agentUrls.indexOf(agent)] ?? Promise.resolve(true));
  await rolloutToEnd(context, run.rolloutId);
  await watchForDrift({ api, say, signal });
  return { version: run.registeredVersion };
}

async function changedTraffic(
  context: StepContext,
  { traffic, scenario, version }: Omit<Stage, 'fleet'> & { version: number },
) {
  const { say, signal } = context;
  const kinds = Object.keys(scenario.summary.changedKinds).join(', ');
  say(`the traffic changes: ${kinds}`);
  const changedAt = Date.now();
  const tally = await measure(context, traffic, { samples: scenario.changedHeldOut, labelShare: 0, seconds: 8 });
  say(`accuracy on the changed traffic: ${percent(accuracyOf(tally))} of ${tally.answered} requests`);
  traffic.send(scenario.changedField, { labelShare: 1 });
  const alert = await waitFor({ what: 'a drift alert', timeoutMs: patienceMs, signal }, () =>
    firingDrift(context, version),
  );
  const movedFeatures = alert.features.slice(0, 6).map((feature) => feature.name);
  say(`drift alert after ${((Date.now() - changedAt) / 1000).toFixed(0)} s: ${alert.summary}`);
  return {
    changedAt,
    accuracy: accuracyOf(tally),
    alertId: alert.id,
    firedAt: alert.firedAt ?? Date.now(),
    movedFeatures,
  };
}

async function retrain(context: StepContext, { alertId }: { traffic: Traffic; scenario: Scenario; alertId: string }) {
  const triggered = await runOfAlert(context, alertId);
  const run = await runToEnd(context, triggered.id);
  context.say(`retrained: ${run.evaluation?.detail ?? ''}`);
  if (run.rolloutId === null || run.registeredVersion === null)
    throw new AppError('internal', 'the retraining released nothing');
  await rolloutToEnd(context, run.rolloutId);
  return { version: run.registeredVersion, completedAt: Date.now() };
}

/** Sends the samples for a while and returns what the clients saw. */
async function measure(
  context: StepContext,
  traffic: Traffic,
  { samples, labelShare, seconds }: { samples: Sample[]; labelShare: number; seconds: number },
): Promise<Tally> {
  traffic.send(samples, { labelShare });
  traffic.take();
  await pause(seconds * 1000, context.signal);
  return traffic.take();
}

/** Waits until the control plane has counted every request that the clients saw answered. */
async function countsAgree(context: StepContext, total: Tally, from: number): Promise<number> {
  let counted = 0;
  try {
    await waitFor({ what: 'all telemetry', timeoutMs: 120_000, signal: context.signal }, async () => {
      counted = await metricTotal(context, 'succeeded', from - 60_000);
      return counted === total.answered ? true : undefined;
    });
  } catch (error) {
    if (!(error instanceof AppError && error.code === 'timeout')) throw error;
  }
  context.say(`the clients counted ${total.answered} answers, the control plane ${counted}`);
  return counted;
}

function printSummary(summary: Summary, missing: string[], fleet: DemoFleet): void {
  process.stdout.write(`\n${summaryLines(summary, missing).join('\n')}\ndashboard: ${fleet.dashboardUrl}\n`);
}

function createSayer(): (text: string) => void {
  const begun = performance.now();
  return (text) => process.stdout.write(`[${((performance.now() - begun) / 1000).toFixed(1).padStart(6)} s] ${text}\n`);
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}
