// One training run: its stages, its curve, the comparison, its log.
import { type Evaluation, type Run, RunDetail } from '@edgeloop/shared/api/training';
import { AppError } from '@edgeloop/shared/errors';
import { useRoute } from 'preact-iso/router';
import { useQuery } from '../api/queries.ts';
import { ActionButton } from '../components/action.tsx';
import { RunBadge } from '../components/badge.tsx';
import { Bars } from '../components/bars.tsx';
import { GainInterval } from '../components/gain-interval.tsx';
import { Card, Facts, Failure, Loaded, PageHead } from '../components/layout.tsx';
import { RunCurves } from '../components/run-curves.tsx';
import { RunLogs } from '../components/run-logs.tsx';
import { Stages } from '../components/stages.tsx';
import { Ago, Digest, ModelLink, RolloutLink, shortId, VersionLink } from '../components/values.tsx';
import { MetricList } from '../components/versions-table.tsx';
import { formatDuration, formatNumber, formatShare } from '../format.ts';

const unfinished = new Set<Run['status']>(['queued', 'waiting_for_labels', 'running']);

export function RunPage() {
  const id = useRoute().params.id ?? '';
  const path = `/runs/${encodeURIComponent(id)}`;
  const run = useQuery(RunDetail, path, ['run']);
  return (
    <>
      <PageHead
        title={run.data === undefined ? `Run ${shortId(id)}` : `${run.data.pipeline} ${shortId(id)}`}
        parents={[{ title: 'Training', path: '/training' }]}
        note={
          run.data !== undefined && (
            <span aria-live="polite">
              <RunBadge status={run.data.status} />
            </span>
          )
        }
      >
        {run.data !== undefined && unfinished.has(run.data.status) && (
          <ActionButton
            label="Cancel run"
            tone="danger"
            confirm="Training stops and nothing is registered."
            request={() => ({ method: 'POST', path: `${path}/cancel` })}
          />
        )}
      </PageHead>
      <Loaded query={run}>
        {(found) => (
          <>
            {found.error !== null && <Failure error={new AppError('internal', found.error)} />}
            <Stages run={found} />
            <div class="grid two">
              <RunFacts run={found} />
              <EvaluationCard evaluation={found.evaluation} />
            </div>
            <RunCurves steps={found.steps} />
          </>
        )}
      </Loaded>
      <RunLogs path={path} />
    </>
  );
}

function RunFacts({ run }: { run: RunDetail }) {
  const parameters = Object.entries(run.trainer.parameters).map(([name, value]) => `${name} ${JSON.stringify(value)}`);
  const end = run.endedAt ?? Date.now();
  return (
    <Card title="Run">
      <Facts
        facts={[
          ['Model', <ModelLink key="model" name={run.model} />],
          [
            'Cause',
            run.cause.kind === 'manual' ? (
              `by ${run.cause.by}`
            ) : (
              <a key="cause" href="/monitoring">
                alert {shortId(run.cause.alertId)}
              </a>
            ),
          ],
          [
            'Dataset',
            run.dataset === null ? (
              '–'
            ) : (
              <span key="dataset">
                {run.dataset.name} v{run.dataset.version} <Digest hash={run.dataset.digest} />
              </span>
            ),
          ],
          ['Trainer', [run.trainer.kind, ...parameters].join(', ')],
          ['Seed', run.seed],
          ['Began', <Ago key="began" at={run.startedAt} />],
          ['Took', run.startedAt === null ? '–' : formatDuration((end - run.startedAt) / 1000)],
          ['Metrics', <MetricList key="metrics" metrics={run.metrics} />],
          [
            'Registered',
            run.registeredVersion === null ? (
              '–'
            ) : (
              <VersionLink key="version" model={run.model} version={run.registeredVersion} />
            ),
          ],
          ['Rollout', run.rolloutId === null ? '–' : <RolloutLink key="rollout" id={run.rolloutId} />],
        ]}
      />
    </Card>
  );
}

function EvaluationCard({ evaluation }: { evaluation: Evaluation | null }) {
  if (evaluation === null) {
    return (
      <Card title="Challenger against champion">
        <p class="muted">Compared on the same held-out rows when training is done.</p>
      </Card>
    );
  }
  const { challenger, champion, championVersion, gain, won } = evaluation;
  const contenders = [
    { name: 'challenger', value: challenger, text: formatShare(challenger) },
    ...(champion === null
      ? []
      : [{ name: `champion v${championVersion ?? '?'}`, value: champion, text: formatShare(champion) }]),
  ];
  return (
    <Card
      title="Challenger against champion"
      note={`${formatNumber(evaluation.rows)} held-out rows`}
      actions={<span class={`badge tone-${won ? 'ok' : 'wait'}`}>{won ? 'won' : 'not better'}</span>}
    >
      <Bars title="Accuracy on held-out rows" bars={contenders} />
      {gain !== null && <GainInterval gain={gain} won={won} />}
      <p class="small">{evaluation.detail}</p>
    </Card>
  );
}
