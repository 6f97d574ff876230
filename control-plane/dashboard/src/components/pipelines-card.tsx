// Pipelines, each with a button that starts a run of it.
import { Pipeline, type PipelineSpec, Run } from '@edgeloop/shared/api/training';
import { useLocation } from 'preact-iso/router';
import { useList } from '../api/queries.ts';
import { formatPoints } from '../format.ts';
import { ActionButton } from './action.tsx';
import { Card, Empty, Loaded } from './layout.tsx';
import { Table } from './table.tsx';
import { Ago, ModelLink } from './values.tsx';

export function PipelinesCard() {
  const pipelines = useList(Pipeline, { path: '/pipelines', on: ['run'] });
  const { route } = useLocation();
  const started = (answer: unknown) => {
    const run = Run.safeParse(answer);
    if (run.success) route(`/training/runs/${encodeURIComponent(run.data.id)}`);
  };
  return (
    <Card title="Pipelines" flush>
      <Loaded query={pipelines}>
        {(found) =>
          found.length === 0 ? (
            <Empty title="No pipeline yet." command="edgeloop pipelines apply pipeline.json">
              A pipeline says how a dataset becomes a better version of a model.
            </Empty>
          ) : (
            <Table
              caption="Pipelines"
              rows={found}
              id={({ spec }) => spec.name}
              columns={[
                { title: 'Pipeline', cell: ({ spec }) => spec.name },
                { title: 'Makes', cell: ({ spec }) => <ModelLink name={spec.model} /> },
                { title: 'From', cell: ({ spec }) => spec.dataset + (spec.refreshFromField ? ' and the field' : '') },
                { title: 'Trainer', cell: ({ spec }) => spec.trainer.kind },
                { title: 'Runs by itself', cell: ({ spec }) => triggerText(spec) },
                { title: 'Must gain', cell: ({ spec }) => `${formatPoints(spec.evaluation.minGain)} or more` },
                { title: 'Then', cell: ({ spec }) => releaseText(spec) },
                { title: 'Changed', cell: (pipeline) => <Ago at={pipeline.updatedAt} /> },
                {
                  title: 'Start',
                  cell: ({ spec }) => (
                    <ActionButton
                      label="Run now"
                      tone="primary"
                      request={() => ({
                        method: 'POST',
                        path: `/pipelines/${encodeURIComponent(spec.name)}/runs`,
                        body: {},
                      })}
                      done={started}
                    />
                  ),
                },
              ]}
            />
          )
        }
      </Loaded>
    </Card>
  );
}

function triggerText({ trigger }: PipelineSpec): string {
  const causes = [trigger.onDrift ? 'drift' : '', trigger.onAccuracy ? 'accuracy' : ''].filter((cause) => cause !== '');
  return causes.length === 0 ? 'no' : `on ${causes.join(' and ')}, with ${trigger.minLabels} labels`;
}

function releaseText({ release }: PipelineSpec): string {
  if (release === undefined) return 'registers';
  return release.approval ? 'asks to roll out' : 'rolls out';
}
